//! `tidegauge dashboard`: the page over a store.

use crate::instance::{Instance, Part};
use crate::serve::{self, Pages};
use crate::settings::Settings;
use crate::{service, shutdown};
use clap::{ArgMatches, Command};
use std::process::ExitCode;
use std::sync::Arc;
use tidegauge_model::SystemClock;
use tidegauge_query::Query;
use tidegauge_store::open_reader;

pub(super) fn shape(command: Command) -> Command {
    command
}

pub(super) fn run(settings: &Settings, _matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let url = super::store::url(settings)?;
    let reader = open_reader(&url, &super::sink::options(settings))?;
    super::runtime(2)?.block_on(async {
        let cancel = shutdown::on_signal(None)?;
        let reloads = super::reload::start(settings)?;
        let serving = serve::dashboard(Query::new(reader), Arc::new(SystemClock));
        let otherwise = Some(super::up::DEFAULT_LISTEN);
        let (pages, served) = Pages::start(settings, otherwise, serving, cancel.clone())?;
        let address = pages.url().unwrap_or_default();
        // It is live without anybody who reads that.
        say!("Tidegauge is live at {address} over {url}").ok();
        let instance = Instance::begin_if_possible(settings, Part::Dashboard);
        reloads.take_up(None, instance, pages, cancel.clone());
        service::ready(cancel.clone());
        cancel.cancelled().await;
        served.wait().await;
        Ok(ExitCode::SUCCESS)
    })
}
