//! A line every while about the table of payments: how many rows there are, how many are completed, how many documents
//! there are, and the newest flagged row. Reads the whole table each time: for a person who looks, not for a measurement.

use std::time::Duration;

use clap::Args;

use super::documents::{DocumentOptions, Documents};
use super::servers::Servers;
use super::table::Table;
use crate::client::runtime;
use crate::report::say;

#[derive(Debug, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    servers: Servers,
    #[command(flatten)]
    documents: DocumentOptions,
    /// Time between two lines.
    #[arg(long, default_value = "2s", value_parser = assay::base::span::parse)]
    every: Duration,
    /// Ends by itself after this long.
    #[arg(long, default_value = "1d", value_parser = assay::base::span::parse)]
    duration: Duration,
}

impl Watch {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let lines = async {
            let table = Table::open(&self.servers).await?;
            let documents = Documents::open(&self.documents).await?;
            let mut ticks = tokio::time::interval(self.every.max(Duration::from_millis(100)));
            loop {
                ticks.tick().await;
                let kept = match &documents {
                    // One that does not answer for a while ends nothing here.
                    Some(documents) => match documents.count().await {
                        Ok(count) => format!("documents {count}  "),
                        Err(_away) => "documents ?  ".to_owned(),
                    },
                    None => String::new(),
                };
                say(&format!("{kept}{}", table.summary().await?))?;
            }
        };
        runtime()?.block_on(async {
            tokio::select! {
                ended = lines => ended,
                () = tokio::time::sleep(self.duration) => Ok(()),
                signal = tokio::signal::ctrl_c() => Ok(signal?),
            }
        })
    }
}
