//! The empty handler: what HTTP itself costs with the same server library, runtime and answer size.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use axum::serve::ListenerExt as _;
use clap::Args;

use crate::report::say;

/// An answer as long as a decision with a few reasons.
const ANSWER: &str = r#"{"transaction_id":"live0mrs6x3k-000001","kind":"full","revision":0,"score":0.0123,"flagged":false,"threshold":0.5,"model":"fraud","model_version":"1","model_sha256":"0000000000000000000000000000000000000000000000000000000000000000","reasons":[],"degraded":false,"source":"predict","scored_at":"2026-01-01T00:00:00.000Z","took_micros":100}"#;

#[derive(Debug, Args)]
pub(crate) struct Empty {
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Threads of its runtime; 0 takes as many as there are cores.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

impl Empty {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        if self.threads > 0 {
            runtime.worker_threads(self.threads);
        }
        runtime.enable_all().build()?.block_on(async {
            let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], self.port))).await?;
            say(&format!("http://{}/predict", listener.local_addr()?))?;
            let listener = listener.tap_io(|stream| {
                // Without it the figures are a little worse, not wrong.
                let _ = stream.set_nodelay(true);
            });
            let answer =
                async |body: Bytes| ([(CONTENT_TYPE, "application/json")], if body.is_empty() { "{}" } else { ANSWER });
            let router = axum::Router::new().route("/predict", post(answer));
            let stopped = async {
                if tokio::signal::ctrl_c().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            axum::serve(listener, router).with_graceful_shutdown(stopped).await?;
            Ok(())
        })
    }
}

/// The empty handler in a process of its own; ends when dropped.
pub(crate) struct EmptyProcess {
    child: Child,
    /// Where it answers.
    pub(crate) url: String,
}

impl EmptyProcess {
    /// On these processors (as `taskset -c` takes them), or on any.
    pub(crate) fn start(processors: Option<&str>) -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let mut command = match processors {
            Some(processors) => {
                let mut command = Command::new("taskset");
                command.args(["-c", processors]).arg(own);
                command
            }
            None => Command::new(own),
        };
        let mut child = command.arg("empty").stdout(Stdio::piped()).spawn()?;
        let out = child.stdout.take();
        let mut process = Self { child, url: String::new() };
        let mut line = String::new();
        BufReader::new(out.context("the empty handler has no output")?).read_line(&mut line)?;
        line.trim().clone_into(&mut process.url);
        anyhow::ensure!(!process.url.is_empty(), "the empty handler did not start");
        Ok(process)
    }
}

impl Drop for EmptyProcess {
    fn drop(&mut self) {
        // It holds nothing that could be lost; an error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
