//! `tidegauge dashboard`: the page over a store.

use crate::settings::Settings;
use crate::{serve, service, shutdown};
use clap::{ArgMatches, Command};
use std::process::ExitCode;
use std::sync::Arc;
use tidegauge_dashboard::DashboardOptions;
use tidegauge_model::SystemClock;
use tidegauge_query::Query;
use tidegauge_store::open_reader;

pub(super) fn shape(command: Command) -> Command {
    command
}

#[expect(clippy::print_stdout, reason = "the address is the command's answer")]
pub(super) fn run(settings: &Settings, _matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let url = super::store::url(settings)?;
    let reader = open_reader(&url, &super::sink::options(settings))?;
    super::runtime(2)?.block_on(async {
        let cancel = shutdown::on_signal(None)?;
        super::reload::start(settings, None, cancel.clone())?;
        let Some(listening) = serve::listen(settings, Some(super::up::DEFAULT_LISTEN)).await?
        else {
            unreachable!("there is a default");
        };
        println!("Tidegauge is live at {} over {url}", listening.url());
        service::ready(cancel.clone());
        let query = Query::new(reader);
        tidegauge_dashboard::serve(
            listening.listener,
            listening.door,
            query,
            DashboardOptions::default(),
            Arc::new(SystemClock),
            cancel,
        )
        .await;
        Ok(ExitCode::SUCCESS)
    })
}
