//! tungstenite as a client of the host. The contract is in ../../README.md.
use std::net::TcpStream;
use std::{env, fs};

use native_tls::{Certificate, TlsConnector};
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{client_tls_with_config, Bytes, Connector, Message, WebSocket};

const PIECES: usize = 13;
// The crate does not tell its version: build.rs takes it from Cargo.lock.
const VERSION: &str = env!("TUNGSTENITE_VERSION");

type Socket = WebSocket<MaybeTlsStream<TcpStream>>;
type Failed = Box<dyn std::error::Error>;

fn text(size: usize) -> Vec<u8> {
    ("aé漢😀".repeat(size / 10) + &"x".repeat(size % 10)).into_bytes()
}

fn binary(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i & 0xff) as u8).collect()
}

fn open(base: &str, ca: &str, path: &str) -> Result<Socket, Failed> {
    let (_, place) = base.split_once("://").ok_or("no URL")?;
    let connector = if ca.is_empty() {
        Connector::Plain
    } else {
        let root = Certificate::from_pem(&fs::read(ca)?)?;
        Connector::NativeTls(TlsConnector::builder().add_root_certificate(root).build()?)
    };
    let stream = TcpStream::connect(place)?;
    let url = format!("{base}{path}");
    Ok(client_tls_with_config(url, stream, None, Some(connector))?.0)
}

/// In odd fragments, which may cut a character.
fn send_in_fragments(socket: &mut Socket, kind: Data, bytes: &Bytes) -> Result<(), Failed> {
    let step = bytes.len() / PIECES + 1;
    let mut at = 0;
    loop {
        let to = bytes.len().min(at + step);
        let opcode = OpCode::Data(if at == 0 { kind } else { Data::Continue });
        let frame = Frame::message(bytes.slice(at..to), opcode, to == bytes.len());
        socket.send(Message::Frame(frame))?;
        if to == bytes.len() {
            return Ok(());
        }
        at = to;
    }
}

fn echo(socket: &mut Socket, kind: Data, bytes: Vec<u8>) -> Result<(), Failed> {
    let bytes = Bytes::from(bytes);
    let message = if kind == Data::Text {
        Message::text(String::from_utf8(bytes.to_vec())?)
    } else {
        Message::binary(bytes.clone())
    };
    socket.send(message.clone())?;
    if socket.read()? != message {
        return Err(format!("{} bytes came back otherwise", bytes.len()).into());
    }
    send_in_fragments(socket, kind, &bytes)?;
    if socket.read()? != message {
        return Err(format!("{} bytes in fragments came back otherwise", bytes.len()).into());
    }
    Ok(())
}

/// What the Close frame of the other side says.
fn end(socket: &mut Socket) -> Result<String, Failed> {
    match socket.read()? {
        Message::Close(Some(frame)) => Ok(format!("{} {}", u16::from(frame.code), frame.reason)),
        other => Err(format!("{other:?} instead of a Close frame").into()),
    }
}

fn main() -> Result<(), Failed> {
    let [base, _, ca, sizes] = &env::args().skip(1).collect::<Vec<_>>()[..] else {
        return Err("four arguments".into());
    };
    println!("version: tungstenite {VERSION}");

    let mut socket = open(base, ca, "/echo")?;
    let mut count = 0;
    for size in sizes.split(',') {
        let size = size.parse()?;
        echo(&mut socket, Data::Text, text(size))?;
        echo(&mut socket, Data::Binary, binary(size))?;
        count += 2;
    }
    println!("echo: {count}");
    println!("fragments: {count}");
    socket.send(Message::Ping("are you there".into()))?;
    if socket.read()? != Message::Pong("are you there".into()) {
        return Err("another pong".into());
    }
    println!("ping: ok");

    let mut socket = open(base, ca, "/ends")?;
    socket.close(Some(CloseFrame {
        code: 4000.into(),
        reason: "client first".into(),
    }))?;
    println!("client_first: {}", end(&mut socket)?.trim_end());

    let mut socket = open(base, ca, "/ends")?;
    socket.send(Message::text("4001 server first"))?;
    println!("server_first: {}", end(&mut socket)?);
    while socket.read().is_ok() {} // until our answer is out
    Ok(())
}
