//! The destination `mongodb` against a real server that speaks MongoDB's protocol: `scripts/ferretdb.sh` starts FerretDB
//! 1.24.2 on SQLite with a data folder of its own, or `ASSAY_TEST_MONGODB_URL` names another server. Every test has a
//! database of its own. FerretDB is a stand-in: what it lacks is said as not run, never passed over.
//!
//! | run on | cases |
//! |---|---|
//! | FerretDB 1.24.2 on SQLite | all; said as not run: documents that expire by an index, the sign of a zero. A document that the server refuses for itself is there one with a name that MongoDB takes. |
//! | MongoDB itself | none yet |

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod outage;
mod place;
mod privacy;
mod proxy;
mod raw;
mod reading;
#[path = "../postgres/records.rs"]
mod records;
mod refusals;
mod revisions;
mod server;
mod setup;
mod stack;
mod writing;
