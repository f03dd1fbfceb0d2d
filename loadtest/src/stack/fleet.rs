//! Instances of assay as processes: started, killed, ended in order, and what they counted over all their lives.

use std::collections::BTreeMap;
use std::fs::{File, create_dir_all};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use super::scrape::{Samples, scrape, sum};
use crate::client::{Connection, Target};

/// How instances are started.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Instances")]
pub(crate) struct Options {
    /// The program.
    #[arg(long, default_value = "target/release/assay")]
    assay: PathBuf,
    /// Its arguments, separated by spaces; {n}, {port} and {folder} are the instance's own.
    #[arg(long, default_value = "serve --config config/stack.toml", allow_hyphen_values = true)]
    arguments: String,
    /// Instances.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(crate) instances: u16,
    /// HTTP port of the first one; the others take the next ones.
    #[arg(long, default_value_t = 18_080)]
    port: u16,
    /// A folder for each one's log and data is made below it.
    #[arg(long, default_value = ".cache/stack/instances")]
    folder: PathBuf,
    /// Environment such as ASSAY__STORE__PATH={folder}/assay.sqlite, as often as needed; {n}, {port} and {folder} are
    /// the instance's own. ASSAY__SERVER__LISTEN=127.0.0.1:{port} is always set.
    #[arg(long = "env", value_name = "KEY=VALUE", value_parser = parse_pair)]
    environment: Vec<(String, String)>,
    /// How long a start may take.
    #[arg(long, default_value = "2m", value_parser = assay::base::span::parse)]
    ready_within: Duration,
}

impl Options {
    /// The same with more environment, which wins over what was there.
    pub(crate) fn with(&self, pairs: &[(&str, String)]) -> Self {
        let more = pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        Self { environment: self.environment.iter().cloned().chain(more).collect(), ..self.clone() }
    }
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| format!("{text:?} is not KEY=VALUE"))
}

/// Running instances; those left are killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Fleet {
    options: Options,
    running: Vec<Option<Child>>,
    /// What each running one said last.
    said: Vec<Samples>,
    /// What those that ended had counted.
    counted: Samples,
}

impl Fleet {
    /// Starts all and waits until each is ready.
    pub(crate) async fn start(options: &Options) -> anyhow::Result<Self> {
        let count = usize::from(options.instances);
        let mut fleet = Self {
            options: options.clone(),
            running: (0..count).map(|_| None).collect(),
            said: vec![Samples::new(); count],
            counted: Samples::new(),
        };
        for number in 0..count {
            fleet.spawn(number)?;
        }
        for number in 0..count {
            fleet.ready(number).await?;
        }
        Ok(fleet)
    }

    pub(crate) fn len(&self) -> usize {
        self.running.len()
    }

    /// `http://127.0.0.1:port`
    pub(crate) fn url(&self, number: usize) -> String {
        format!("http://127.0.0.1:{}", usize::from(self.options.port) + number)
    }

    /// The program with the environment of an instance, without a word yet, and a log of this name in its folder.
    pub(crate) fn command(&self, number: usize, log: &str) -> anyhow::Result<(Command, File)> {
        let options = &self.options;
        let folder = options.folder.join((number + 1).to_string());
        create_dir_all(&folder)?;
        let port = (usize::from(options.port) + number).to_string();
        let filled = |text: &str| fill(text, number + 1, &port, &folder.to_string_lossy());
        let log = File::options().create(true).append(true).open(folder.join(log))?;
        let mut command = Command::new(&options.assay);
        command.env("ASSAY__SERVER__LISTEN", format!("127.0.0.1:{port}"));
        command.envs(options.environment.iter().map(|(key, value)| (key, filled(value))));
        Ok((command, log))
    }

    fn spawn(&mut self, number: usize) -> anyhow::Result<()> {
        let (mut command, log) = self.command(number, "serve.log")?;
        let options = &self.options;
        let folder = options.folder.join((number + 1).to_string());
        let port = (usize::from(options.port) + number).to_string();
        let filled = |text: &str| fill(text, number + 1, &port, &folder.to_string_lossy());
        command.args(options.arguments.split_whitespace().map(filled));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("{} cannot be started", options.assay.display()))?;
        if let Some(place) = self.running.get_mut(number) {
            *place = Some(child);
        }
        Ok(())
    }

    /// Waits until it is ready to answer.
    async fn ready(&mut self, number: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        let url = format!("{}/health/ready", self.url(number));
        let target = Target::parse(&url)?;
        loop {
            let child = self.running.get_mut(number).and_then(Option::as_mut).context("no such instance")?;
            if let Some(status) = child.try_wait()? {
                bail!("instance {} ended while starting, {status}: its serve.log says why", number + 1);
            }
            let answer = async { Connection::open(&target).await?.get("/health/ready").await };
            if let Ok(Ok((200, _))) = tokio::time::timeout(Duration::from_secs(2), answer).await {
                return Ok(());
            }
            let limit = self.options.ready_within;
            ensure!(begun.elapsed() < limit, "instance {} was not ready within {} s", number + 1, limit.as_secs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Keeps what every running instance says now; one that does not answer keeps what it said before.
    pub(crate) async fn listen(&mut self) {
        for number in 0..self.len() {
            if let Ok(samples) = scrape(&self.url(number)).await
                && let Some(place) = self.said.get_mut(number)
            {
                *place = samples;
            }
        }
    }

    /// Kills it with no warning, and starts it again after `pause`; returns when it is ready.
    pub(crate) async fn kill_and_restart(&mut self, number: usize, pause: Duration) -> anyhow::Result<()> {
        self.kill(number).await?;
        tokio::time::sleep(pause).await;
        self.begin(number).await
    }

    /// Kills it with no warning.
    pub(crate) async fn kill(&mut self, number: usize) -> anyhow::Result<()> {
        self.listen().await;
        if let Some(mut child) = self.running.get_mut(number).and_then(Option::take) {
            child.kill()?;
            child.wait()?;
        }
        self.bury(number);
        Ok(())
    }

    /// Starts one that does not run; returns when it is ready.
    pub(crate) async fn begin(&mut self, number: usize) -> anyhow::Result<()> {
        self.spawn(number)?;
        self.ready(number).await
    }

    /// Ends one in order, by SIGTERM.
    pub(crate) async fn end(&mut self, number: usize) -> anyhow::Result<()> {
        let Some(mut child) = self.running.get_mut(number).and_then(Option::take) else { return Ok(()) };
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
        let status = tokio::task::spawn_blocking(move || child.wait()).await??;
        ensure!(status.success(), "instance {} ended with {status} when asked to end", number + 1);
        self.bury(number);
        Ok(())
    }

    /// Ends all in order, by SIGTERM.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        self.listen().await;
        for number in 0..self.len() {
            self.end(number).await?;
        }
        Ok(())
    }

    /// The process of one that runs.
    pub(crate) fn pid(&self, number: usize) -> Option<u32> {
        self.running.get(number).and_then(Option::as_ref).map(Child::id)
    }

    /// Adds what an instance counted to what is kept of the ended ones.
    fn bury(&mut self, number: usize) {
        let said = self.said.get_mut(number).map(std::mem::take).unwrap_or_default();
        add(&mut self.counted, &said);
    }

    /// The sum of a counter over all instances and all their lives, as far as they said it: the last second of one that
    /// was killed is not in it.
    pub(crate) fn counted(&self, metric: &str) -> f64 {
        sum(&self.counted, metric) + self.said.iter().map(|samples| sum(samples, metric)).sum::<f64>()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            // One that has ended already needs no end.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn fill(text: &str, number: usize, port: &str, folder: &str) -> String {
    text.replace("{n}", &number.to_string()).replace("{port}", port).replace("{folder}", folder)
}

fn add(sums: &mut BTreeMap<String, f64>, samples: &Samples) {
    for (name, value) in samples {
        *sums.entry(name.clone()).or_default() += value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_names_of_its_own() {
        assert_eq!(fill("{folder}/log-{n}:{port}", 2, "81", "x/2"), "x/2/log-2:81");
        assert_eq!(parse_pair("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert!(parse_pair("A").is_err() && parse_pair("=b").is_err());
    }

    #[test]
    fn what_ended_ones_counted_is_kept() {
        let mut sums = Samples::new();
        for _ in 0..2 {
            add(&mut sums, &Samples::from([("a_total".to_owned(), 3.0)]));
        }
        assert!((sum(&sums, "a_total") - 6.0).abs() < 1e-9);
    }
}
