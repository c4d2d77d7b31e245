//! fastwebsockets on hyper, one thread: an echo at /echo, as its own example has it; at /broadcast what
//! anyone sends goes to all.
use std::future::Future;

use bytes::Bytes;
use fastwebsockets::{
    upgrade, FragmentCollector, FragmentCollectorRead, Frame, OpCode, Payload, WebSocketError,
};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::BufWriter;
use tokio::net::TcpListener;
use tokio::sync::broadcast;

/// Messages that a slow member may lag behind.
const BACKLOG: usize = 1024;

#[derive(Clone)]
struct Said {
    text: bool,
    bytes: Bytes,
}

impl Said {
    fn frame(&self) -> Frame<'_> {
        let payload = Payload::Borrowed(&self.bytes);
        if self.text { Frame::text(payload) } else { Frame::binary(payload) }
    }
}

async fn echo(upgraded: upgrade::UpgradeFut) -> Result<(), WebSocketError> {
    let mut ws = FragmentCollector::new(upgraded.await?);
    loop {
        let frame = ws.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => ws.write_frame(frame).await?,
            _ => {}
        }
    }
}

async fn to_all(
    upgraded: upgrade::UpgradeFut,
    all: broadcast::Sender<Said>,
) -> Result<(), WebSocketError> {
    let mut heard = all.subscribe();
    let (read, mut write) = upgraded.await?.split(|io| {
        let (read, write) = tokio::io::split(io);
        (read, BufWriter::new(write))
    });
    let mut read = FragmentCollectorRead::new(read);
    tokio::spawn(async move {
        while let Ok(said) = heard.recv().await {
            write.write_frame(said.frame()).await?;
            // What has come together leaves together.
            while let Ok(said) = heard.try_recv() {
                write.write_frame(said.frame()).await?;
            }
            write.flush().await?;
        }
        Ok::<(), WebSocketError>(())
    });
    loop {
        // Nobody here sends what has to be answered but Close, which ends it.
        let frame = read.read_frame(&mut |_| async { Ok::<(), WebSocketError>(()) }).await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => {
                let bytes = Bytes::copy_from_slice(&frame.payload);
                let _ = all.send(Said { text: frame.opcode == OpCode::Text, bytes });
            }
            _ => {}
        }
    }
}

fn run(task: impl Future<Output = Result<(), WebSocketError>> + 'static) {
    tokio::task::spawn_local(async move {
        // A client that is gone is no news.
        let _ = tokio::task::unconstrained(task).await;
    });
}

async fn serve(
    mut request: Request<Incoming>,
    all: broadcast::Sender<Said>,
) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let (response, upgraded) = upgrade::upgrade(&mut request)?;
    if request.uri().path() == "/broadcast" {
        run(to_all(upgraded, all));
    } else {
        run(echo(upgraded));
    }
    Ok(response)
}

async fn listen() -> std::io::Result<()> {
    let (all, _) = broadcast::channel(BACKLOG);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let all = all.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| serve(request, all.clone()));
            let connection = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            let _ = connection.await;
        });
    }
}

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, listen())
}
