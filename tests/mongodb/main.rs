//! The destination `mongodb` against a real server that speaks MongoDB's protocol: `scripts/ferretdb.sh` starts FerretDB
//! 1.24.2 on SQLite with a data folder of its own. `ASSAY_TEST_MONGODB_URL` names another server, which no test stops;
//! `ASSAY_TEST_MONGODB_SCRIPT` a program that starts and stops others, by the words and variables of that script. Every test has
//! a database of its own. FerretDB is a stand-in: what it lacks is said as not run, never passed over.
//!
//! | run on | cases |
//! |---|---|
//! | FerretDB 1.24.2 on SQLite | all; said as not run: documents that expire, the sign of a zero, and a race for one id where it loses a write. A document that the server refuses for itself is there one with a name that MongoDB takes. |
//! | documentdb 0.108-0 on PostgreSQL 15, with TLS and SCRAM-SHA-256 | all (`documentdb.enableSchemaValidation = on`; without it: a document that the server refuses for itself) |
//! | MongoDB itself | none yet |

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod outage;
mod outputs;
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
