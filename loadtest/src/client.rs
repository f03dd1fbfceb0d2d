//! One keep-alive HTTP/1.1 connection, as thin as hyper gives it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Where to send: an address of this machine and a path.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    uri: Uri,
}

impl Target {
    /// Reads `http://127.0.0.1:8080/predict`.
    pub(crate) fn parse(url: &str) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
        let host =
            uri.authority().map(|authority| authority.as_str().replace("localhost", "127.0.0.1")).unwrap_or_default();
        let address: SocketAddr =
            host.parse().with_context(|| format!("{url:?} must be like http://127.0.0.1:8080/predict"))?;
        if uri.scheme_str() != Some("http") || !address.ip().is_loopback() {
            bail!("{url}: load goes to this machine only, over http");
        }
        Ok(Self { address, uri: uri.path().parse()? })
    }
}

/// An open connection.
pub(crate) struct Connection {
    target: Target,
    sender: SendRequest<Full<Bytes>>,
}

/// A request that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(60);

impl Connection {
    pub(crate) async fn open(target: &Target) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target.address)
            .await
            .with_context(|| format!("nothing answers at {}", target.address))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { target: target.clone(), sender })
    }

    /// Posts a body, reads the whole answer, returns its status.
    pub(crate) async fn post(&mut self, body: Bytes) -> anyhow::Result<u16> {
        Ok(self.ask(body).await?.0)
    }

    /// Posts a body; the answer's status and body.
    pub(crate) async fn ask(&mut self, body: Bytes) -> anyhow::Result<(u16, Bytes)> {
        let request = Request::post(self.target.uri.clone())
            .header("host", "127.0.0.1")
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        self.exchange(request).await
    }

    /// Posts to another path of the same server; the answer's status and body.
    pub(crate) async fn post_to(&mut self, path: &str, body: Bytes) -> anyhow::Result<(u16, Bytes)> {
        let request = Request::post(path)
            .header("host", "127.0.0.1")
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        self.exchange(request).await
    }

    /// Gets another path of the same server; the answer's status and body.
    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<(u16, Bytes)> {
        let request = Request::get(path).header("host", "127.0.0.1").body(Full::new(Bytes::new()))?;
        self.exchange(request).await
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<(u16, Bytes)> {
        let exchange = async {
            self.sender.ready().await?;
            let answer = self.sender.send_request(request).await?;
            let status = answer.status().as_u16();
            anyhow::Ok((status, answer.into_body().collect().await?.to_bytes()))
        };
        tokio::time::timeout(TIMEOUT, exchange).await.context("no answer within 60 s")?
    }
}

/// The client's runtime: one thread, so that it takes no more of the machine than it must.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_goes_to_this_machine_only() {
        assert!(Target::parse("http://127.0.0.1:8080/predict").is_ok());
        assert!(Target::parse("http://localhost:8080/predict").is_ok());
        for url in ["http://10.0.0.1:8080/predict", "https://127.0.0.1:1/x", "http://0.0.0.0:80/", "127.0.0.1", "x"] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}
