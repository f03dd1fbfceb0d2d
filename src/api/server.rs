//! Connections: accepted one by one, bounded in number, ended in order.
//!
//! ```text
//! accept ─▶ too many? ─▶ 503 and close
//!        └▶ requests until the client leaves, stays silent too long, or the end is asked for
//! end asked ─▶ no more accepted ─▶ each connection closes after the answer it is at ─▶ what is left after the grace is cut
//! ```

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWrite as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::front::Front;
use super::problem::Problem;
use crate::ops::metrics::{Metrics, ProblemCode};
use crate::ops::shutdown::Shutdown;

/// Bounds of the server.
#[derive(Debug, Clone, Copy)]
pub struct ServerOptions {
    /// Connections open at the same time.
    pub max_connections: usize,
    /// The longest wait for a request's head, idle time before it included.
    pub head_timeout: Duration,
    /// How long answers in flight may take once the end is asked for.
    pub grace: Duration,
}

/// Room for a request's head.
const HEAD_BYTES: usize = 64 << 10;
/// Pause after an accept that failed for want of files or memory, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a client that is turned away may take to read why.
const REFUSAL: Duration = Duration::from_millis(500);
/// The most clients that are told why at the same time; further ones are closed at once.
const REFUSALS: usize = 64;

/// Serves until the end is asked for and what was in flight is answered or the grace is over.
/// Returns the number of connections that were cut.
pub async fn serve(
    listener: TcpListener,
    front: Front,
    options: ServerOptions,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
) -> usize {
    let mut connections = JoinSet::new();
    let mut refusals = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_ended) = connections.join_next() => {
                metrics.http_connections.set((), count(connections.len()));
                continue;
            }
            Some(_ended) = refusals.join_next() => continue,
            () = shutdown.asked() => break,
        };
        match accepted {
            Ok((stream, _peer)) if connections.len() < options.max_connections => {
                connections.spawn(connection(stream, front.clone(), options.head_timeout, shutdown.clone()));
                metrics.http_connections.set((), count(connections.len()));
            }
            Ok((stream, _peer)) => {
                metrics.http_connections_refused.up(());
                if refusals.len() < REFUSALS {
                    refusals.spawn(async move { timeout(REFUSAL, refuse(stream)).await });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let drained = timeout(options.grace, async { while connections.join_next().await.is_some() {} }).await;
    let cut = if drained.is_err() { connections.len() } else { 0 };
    connections.shutdown().await;
    metrics.http_connections.set((), 0);
    cut
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// One connection until its end.
async fn connection(stream: TcpStream, front: Front, head_timeout: Duration, shutdown: Shutdown) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    let service =
        service_fn(move |request: hyper::Request<hyper::body::Incoming>| front.clone().answer(request.map(Body::new)));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shutdown.asked() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        // Clients leave as they like; nothing of theirs was accepted and lost.
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Tells a client why it is turned away, then closes.
async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    let rule = "as many connections are open as server.max_connections allows; try again";
    let document = Problem::new(ProblemCode::Unavailable, rule).document("none", None);
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nretry-after: 1\r\nconnection: close\r\n\r\n",
        document.len()
    );
    write_all(&stream, head.as_bytes()).await?;
    write_all(&stream, &document).await?;
    poll_fn(|context| Pin::new(&mut stream).poll_shutdown(context)).await?;
    // Reads what the client was sending: closing with unread bytes would reset the answer away.
    let mut rest = [0_u8; 4096];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut rest) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
