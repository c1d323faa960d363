//! Fetching a page as a check does, for listeners that read pages. What is in a page is not known here.

use super::super::settings::setting;
use super::super::{AgentError, CheckSettings, Finding, ProbeContext};
use super::{HttpProbe, Page};
use hyper::header::{self, HeaderValue};
use tidegauge_model::Clock;

/// Fetches a page as a check does, and keeps it.
pub(crate) struct Fetcher(HttpProbe);

/// A page, and how fetching it went.
pub(crate) struct Fetched {
    pub(crate) finding: Finding,
    pub(crate) content_type: Option<String>,
    /// Whole if the finding is good; else whatever came.
    pub(crate) body: Vec<u8>,
}

impl Fetcher {
    /// Fetches what the settings name, as far as its bound of the body. `accept` is the formats that
    /// can be read.
    pub(crate) fn new(
        settings: &CheckSettings,
        context: &ProbeContext,
        accept: &'static str,
    ) -> Result<Self, AgentError> {
        if settings.service().is_some() {
            let problem = "the targets of services are checked, their pages are not fetched";
            return Err(setting("url", problem));
        }
        let mut probe = HttpProbe {
            keeps_body: true,
            ..HttpProbe::new(settings, context)?
        };
        let accept = HeaderValue::from_static(accept);
        probe.ask.set(header::ACCEPT, accept);
        Ok(Self(probe))
    }

    /// Fetches once, within the deadline. The authorization replaces that of the address.
    pub(crate) async fn fetch(
        &mut self,
        authorization: Option<HeaderValue>,
        clock: &dyn Clock,
    ) -> Fetched {
        if let Some(authorization) = authorization {
            self.0.ask.set(header::AUTHORIZATION, authorization);
        }
        let mut page = Page::default();
        let finding = self.0.check_with(&mut page, clock).await;
        Fetched {
            finding,
            content_type: page.content_type,
            body: page.body,
        }
    }
}
