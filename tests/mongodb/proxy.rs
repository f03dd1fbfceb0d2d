//! A proxy in front of a server that cuts connections, or goes silent, when it is told to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// How it behaves; shared with whoever changes it.
#[derive(Debug, Default)]
pub(crate) struct Manners {
    /// Answers of the server go nowhere.
    pub(crate) silent: AtomicBool,
    /// Every connection is closed.
    pub(crate) cut: AtomicBool,
    /// Connections that came.
    pub(crate) came: AtomicUsize,
}

/// Where it listens.
pub(crate) async fn before(server: SocketAddr) -> (SocketAddr, Arc<Manners>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, manners) = (listener.local_addr().unwrap(), Arc::<Manners>::default());
    let shared = Arc::clone(&manners);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            shared.came.fetch_add(1, Ordering::SeqCst);
            let Ok(server) = TcpStream::connect(server).await else { continue };
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            tokio::spawn(carry(from_client, to_server, Arc::clone(&shared), false));
            tokio::spawn(carry(from_server, to_client, Arc::clone(&shared), true));
        }
    });
    (address, manners)
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, manners: Arc<Manners>, is_answer: bool) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = tokio::time::timeout(Duration::from_millis(20), from.read(&mut buffer)).await;
        if manners.cut.load(Ordering::SeqCst) {
            return;
        }
        let Ok(read) = read else { continue };
        let Ok(length @ 1..) = read else { return };
        if is_answer && manners.silent.load(Ordering::SeqCst) {
            continue;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
