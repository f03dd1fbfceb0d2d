//! A keep-alive HTTP/1.1 connection to one server, made again when it breaks.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::base::secret::Secret;

/// An answer larger than this is an error.
const LARGEST_ANSWER: usize = 4 << 20;

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Server {
    /// `host:port`.
    authority: String,
}

impl Server {
    /// Reads `http://host[:port]`; other hosts than this machine only with `remote`.
    pub(in crate::cli) fn parse(url: &str, remote: bool) -> anyhow::Result<Self> {
        let uri: Uri =
            url.parse().with_context(|| format!("{url:?} is not an address such as http://127.0.0.1:8080"))?;
        let (Some("http"), Some(host)) = (uri.scheme_str(), uri.host()) else {
            bail!("{url:?} is not an address such as http://127.0.0.1:8080");
        };
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let own = name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !own && !remote {
            bail!("{host} is not this machine: pass --allow-remote to send payments there");
        }
        Ok(Self { authority: format!("{host}:{}", uri.port_u16().unwrap_or(80)) })
    }
}

/// One connection.
pub(in crate::cli) struct Client {
    server: Server,
    timeout: Duration,
    token: Option<Secret>,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub(in crate::cli) const fn new(server: Server, timeout: Duration) -> Self {
        Self { server, timeout, token: None, sender: None }
    }

    /// The same, bringing a bearer token.
    pub(in crate::cli) fn with_token(self, token: Option<Secret>) -> Self {
        Self { token, ..self }
    }

    /// One request with a JSON body (empty for GET) and its whole answer, within the timeout.
    ///
    /// Cancel safety: an abandoned call leaves no half-used connection behind; the next call connects again.
    pub(in crate::cli) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut sender = self.sender.take();
        let server = &self.server;
        let exchange = async {
            let mut ready = match sender.take().filter(|sender| !sender.is_closed()) {
                Some(sender) => sender,
                None => server.connect().await?,
            };
            let mut request = Request::builder()
                .method(method)
                .uri(path)
                .header("host", &server.authority)
                .header("content-type", "application/json");
            if let Some(token) = &self.token {
                request = request.header("authorization", format!("Bearer {}", token.expose()));
            }
            let request = request.body(Full::new(body))?;
            let answer = ready.send_request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?.to_bytes();
            ready.ready().await?;
            anyhow::Ok((ready, status, body))
        };
        let (ready, status, body) = tokio::time::timeout(self.timeout, exchange)
            .await
            .with_context(|| format!("no answer within {:?}", self.timeout))??;
        self.sender = Some(ready);
        Ok((status, body))
    }
}

impl Server {
    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(&self.authority)
            .await
            .with_context(|| format!("nothing answers at {}: is `assay serve` running there?", self.authority))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends when the sender is dropped or the server closes; its error reaches the request as well.
        tokio::spawn(connection);
        Ok(sender)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_unless_allowed() {
        let authority = |url, remote| Server::parse(url, remote).map(|server| server.authority).ok();
        assert_eq!(authority("http://127.0.0.1:8080", false).as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(authority("http://[::1]:81/", false).as_deref(), Some("[::1]:81"));
        assert_eq!(authority("http://localhost", false).as_deref(), Some("localhost:80"));
        for url in ["http://10.0.0.1:8080", "http://example.com", "http://127.0.0.1.example.com", "http://0.0.0.0:1"] {
            assert_eq!(authority(url, false), None, "{url}");
            assert!(authority(url, true).is_some(), "{url}");
        }
        for url in ["https://127.0.0.1", "127.0.0.1:8080", "file:///x", ""] {
            assert_eq!(authority(url, true), None, "{url}");
        }
    }
}
