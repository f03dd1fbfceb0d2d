//! `[models]` and `[admin]`: versions, how they come into force, and who may change that.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::reader::Reader;
use super::setting::{AdminAddress, Password, Share};
use crate::base::secret::Secret;

/// What puts a new version in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activate {
    /// A command.
    Command,
    /// That it is the newest and passed.
    Newest,
}

/// `[models]`
#[derive(Debug, Clone)]
pub struct Models {
    /// What puts a new version in force.
    pub activate: Activate,
    /// How often the registry is looked at.
    pub look_every: Duration,
    /// Where this instance's copies of the versions are.
    pub copies: PathBuf,
    /// Where changes are recorded on the stack.
    pub journal: PathBuf,
    /// The longest that one row may take at warm-up; zero asks for none.
    pub latency_budget: Duration,
    /// The bound of the distribution gate; 0 switches it off.
    pub max_shift: Share,
    /// Recent payments that the gate needs.
    pub least_traffic: usize,
    /// How long a version is watched; zero watches none.
    pub watch: Duration,
    /// Rows that the watch needs.
    pub watch_rows: usize,
    /// The bound of rows without a score; 0 looks at none.
    pub watch_errors: Share,
    /// The bound of the time of a row; zero looks at none.
    pub watch_latency: Duration,
    /// The bound of the scores' shift; 0 looks at none.
    pub watch_shift: Share,
    /// Threads of a challenger.
    pub challenger_workers: usize,
    /// Rows that wait for it.
    pub challenger_queue: usize,
}

/// `[mlflow]`
#[derive(Debug, Clone)]
pub struct Mlflow {
    /// Where; empty for nowhere.
    pub url: String,
    /// The registered model.
    pub model: String,
    /// Its alias that names the version.
    pub alias: String,
    /// What the server asks for.
    pub token: Password,
    /// The longest that a request may take.
    pub timeout: Duration,
}

impl Mlflow {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let rule =
            "\"http://HOST:PORT\" or \"https://HOST\" without a user (mlflow.token says who asks), or \"\" for none";
        let scheme = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        // What stands there is told in logs and answers.
        let known = |url: &String| url.is_empty() || (scheme(url) && !url.contains(['@', '?', '#']));
        let s = Duration::from_secs;
        Self {
            url: reader.take_if("mlflow.url", String::new(), rule, known),
            model: reader.take("mlflow.model", "fraud".to_owned()),
            alias: reader.take("mlflow.alias", "champion".to_owned()),
            token: reader.take("mlflow.token", Password(None)),
            timeout: reader.take_in("mlflow.timeout", s(10), Duration::from_millis(100)..=s(600)),
        }
    }

    /// Whether there is one.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        !self.url.is_empty()
    }
}

/// `[admin]`
#[derive(Debug, Clone)]
pub struct Admin {
    /// Where; as the server's address says.
    pub listen: AdminAddress,
    /// What a caller must bring.
    pub token: Password,
}

impl Admin {
    /// Where the listener is, by the address of the server; `None` for nowhere.
    #[must_use]
    pub fn address(&self, server: SocketAddr) -> Option<SocketAddr> {
        let beside = |port: u16| if port == 0 { 0 } else { port.checked_add(1).unwrap_or(0) };
        match self.listen {
            AdminAddress::Off => None,
            AdminAddress::Beside => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), beside(server.port()))),
            AdminAddress::At(address) => Some(address),
        }
    }

    /// The token that a caller must bring.
    #[must_use]
    pub fn token(&self) -> Option<Secret> {
        self.token.0.clone()
    }
}

impl Models {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        let zero = Duration::ZERO;
        Self {
            activate: reader.take("models.activate", Activate::Command),
            look_every: reader.take_in("models.look_every", s(2), ms(50)..=s(3600)),
            copies: reader.take("models.copies", PathBuf::from("data/models")),
            journal: reader.take("models.journal", PathBuf::from("data/models.journal")),
            latency_budget: reader.take_in("models.latency_budget", ms(20), zero..=s(10)),
            max_shift: reader.take_in("models.max_shift", Share(0.25), Share(0.0)..=Share(100.0)),
            least_traffic: reader.take_in("models.least_traffic", 500, 1..=2_048),
            watch: reader.take_in("models.watch", s(600), zero..=s(86_400)),
            watch_rows: reader.take_in("models.watch_rows", 200, 1..=1_000_000),
            watch_errors: reader.take_in("models.watch_errors", Share(0.01), Share(0.0)..=Share(1.0)),
            watch_latency: reader.take_in("models.watch_latency", ms(100), zero..=s(60)),
            watch_shift: reader.take_in("models.watch_shift", Share(0.5), Share(0.0)..=Share(100.0)),
            challenger_workers: reader.take_in("models.challenger_workers", 1, 1..=64),
            challenger_queue: reader.take_in("models.challenger_queue", 4_096, 1..=1_000_000),
        }
    }
}

impl Admin {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            listen: reader.take("admin.listen", AdminAddress::Beside),
            token: reader.take("admin.token", Password(None)),
        }
    }

    /// Whoever can reach it from elsewhere must say who they are.
    pub(super) fn check(&self, reader: &mut Reader) {
        if let AdminAddress::At(address) = self.listen
            && !address.ip().is_loopback()
            && self.token.0.is_none()
        {
            let rule = "is reached from other machines: set admin.token, or listen on 127.0.0.1".to_owned();
            reader.fault("admin.listen", rule);
        }
    }
}
