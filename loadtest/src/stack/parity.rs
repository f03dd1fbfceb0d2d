//! Decisions of the stream against the same payments scored as a file, while instances are killed and started again.

use std::time::Duration;

use anyhow::ensure;
use clap::Args;

use super::kills::Kills;
use super::trial::{Scene, Trial};
use crate::client::runtime;
use crate::report::say_figures;

#[derive(Debug, Args)]
pub(crate) struct Parity {
    #[command(flatten)]
    trial: Trial,
    /// The least time between two kills.
    #[arg(long, default_value = "20s", value_parser = assay::base::span::parse)]
    kill_after: Duration,
    /// The most time between two kills.
    #[arg(long, default_value = "30s", value_parser = assay::base::span::parse)]
    kill_before: Duration,
    /// How long a killed instance stays away.
    #[arg(long, default_value = "1s", value_parser = assay::base::span::parse)]
    away: Duration,
    /// Kills nobody.
    #[arg(long)]
    in_peace: bool,
}

impl Parity {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        runtime()?.block_on(async {
            let outcome = self.trial.run(|scene| self.kill(scene)).await?;
            say_figures(&outcome, &outcome.line(), self.trial.json)?;
            ensure!(outcome.verdict.is_clean(), "what was decided is not what it must be");
            ensure!(outcome.merge_timeouts < 0.5, "{} merges did not wait any longer", outcome.merge_timeouts);
            Ok(())
        })
    }

    async fn kill(&self, mut scene: Scene) -> anyhow::Result<Vec<String>> {
        let mut done = Vec::new();
        if self.in_peace {
            return Ok(done);
        }
        let instances = scene.fleet.lock().await.len();
        let begun = std::time::Instant::now();
        for (at, number) in Kills::new(self.trial.seed, instances, self.kill_after, self.kill_before) {
            if !scene.sleep(at.saturating_sub(begun.elapsed())).await {
                break;
            }
            let killed = begun.elapsed();
            scene.fleet.lock().await.kill_and_restart(number, self.away).await?;
            let back = (begun.elapsed() - killed).as_secs_f64();
            done.push(format!(
                "{:.1} s: instance {} killed, ready {back:.1} s later",
                killed.as_secs_f64(),
                number + 1
            ));
        }
        Ok(done)
    }
}
