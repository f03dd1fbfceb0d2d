//! The destination `postgres` against a real server: `scripts/postgres.sh` starts one with a data folder of its own, or
//! `ASSAY_TEST_POSTGRES_URL` names a superuser's database elsewhere. Every test has a database and a role of its own.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod completeness;
mod finding;
mod models;
mod outage;
mod place;
mod plans;
mod records;
mod reference;
mod server;
mod setup;
mod tls;
mod waiting;
mod writing;
