//! The web page and its API: one host's measurements as charts, live.
//!
//! Knows no SQL and no database: it asks [`Query`](tidegauge_query::Query). It loads nothing from
//! other hosts and says so to the browser (`Content-Security-Policy: default-src 'self'`). Who comes
//! in is said by a [`Door`](tidegauge_serve::Door).
//!
//! | path | answers |
//! |---|---|
//! | `/` and `/assets/…` | the page, embedded |
//! | `/api/hosts` | all hosts |
//! | `/api/overview?host=` | what there is of a host: panels and checks |
//! | `/api/panel?host=&panel=&from=&to=&pixels=` | one panel's charts; times in milliseconds since 1970 UTC |
//! | `/api/live?host=&since=` | server-sent events with new samples of all panels |
//!
//! Errors are JSON, `{"error": "…"}`.

mod api;
mod assets;
mod error;
mod live;
mod panels;
mod server;

pub use server::{DashboardOptions, router, serve};
