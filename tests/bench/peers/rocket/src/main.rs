//! Rocket with rocket_ws: an echo at /echo; at /broadcast what anyone sends goes to all.
use rocket::futures::{SinkExt, StreamExt};
use rocket::tokio::{select, sync::broadcast};
use rocket::config::TlsConfig;
use rocket::{get, routes, Config, State};
use rocket_ws::{Channel, Message, Stream, WebSocket};

/// Messages that a slow member may lag behind.
const BACKLOG: usize = 1024;

#[get("/echo")]
fn echo(ws: WebSocket) -> Stream!['static] {
    ws.stream(|io| io)
}

#[get("/broadcast")]
fn to_all(ws: WebSocket, all: &State<broadcast::Sender<Message>>) -> Channel<'static> {
    let (said, mut heard) = (all.inner().clone(), all.subscribe());
    ws.channel(move |mut stream| {
        Box::pin(async move {
            loop {
                select! {
                    message = stream.next() => match message {
                        Some(Ok(message)) if message.is_text() || message.is_binary() => {
                            let _ = said.send(message);
                        }
                        Some(Ok(_)) => {}
                        _ => return Ok(()),
                    },
                    message = heard.recv() => match message {
                        Ok(message) => {
                            // What has come together leaves together.
                            stream.feed(message).await?;
                            while let Ok(message) = heard.try_recv() {
                                stream.feed(message).await?;
                            }
                            stream.flush().await?;
                        }
                        Err(_) => return Ok(()),
                    },
                }
            }
        })
    })
}

fn main() -> Result<(), Box<rocket::Error>> {
    let port = std::env::args().nth(1).and_then(|text| text.parse().ok()).expect("a port");
    let mut config = Config {
        port,
        workers: 1,
        log_level: rocket::config::LogLevel::Off,
        ..Config::release_default()
    };
    if let (Ok(cert), Ok(key)) = (std::env::var("BENCH_CERT"), std::env::var("BENCH_KEY")) {
        config.tls = Some(TlsConfig::from_paths(cert, key));
    }
    let (all, _) = broadcast::channel::<Message>(BACKLOG);
    rocket::execute(async move {
        rocket::custom(config).manage(all).mount("/", routes![echo, to_all]).launch().await
    })
    .map(|_| ())
    .map_err(Box::new)
}
