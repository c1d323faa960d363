//! Looking up names for probes: fresh each time, so that the time it takes is a measurement.
//!
//! Addresses and `localhost` (RFC 6761, section 6.3) need no name server. Everything else goes
//! through `/etc/hosts` and the name servers of `/etc/resolv.conf`, not through nsswitch.

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How often a change of the name servers is looked for, as when a laptop changes networks.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The addresses of a host that needs no lookup.
pub(super) fn without_lookup(host: &str) -> Option<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Some(vec![address]);
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let last_label = host.rsplit('.').next().unwrap_or_default();
    last_label
        .eq_ignore_ascii_case("localhost")
        .then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
}

/// A host and a port that a service has.
pub(crate) type ServiceTarget = (String, u16);

/// The resolver, made when it is first needed and again when the system's settings change.
#[derive(Default)]
pub(super) struct Names {
    /// In place of those of the system.
    servers: Vec<SocketAddr>,
    known: Mutex<Option<Known>>,
}

struct Known {
    looked: Instant,
    changed: Option<SystemTime>,
    resolver: Result<Arc<TokioResolver>, String>,
}

impl Names {
    /// Asks these servers instead of the system's, if there are any.
    pub(super) fn asking(servers: Vec<SocketAddr>) -> Self {
        Self {
            servers,
            known: Mutex::default(),
        }
    }

    /// The targets of a service, by its SRV records (RFC 2782), in a fixed order; none when the answer is
    /// that there are none.
    ///
    /// # Errors
    /// Why there is no answer, for a person.
    pub(super) async fn service(&self, name: &str) -> Result<Vec<ServiceTarget>, String> {
        let found = match self.resolver()?.srv_lookup(name).await {
            Ok(found) => found,
            Err(NetError::Dns(DnsError::NoRecordsFound(none)))
                if matches!(
                    none.response_code,
                    ResponseCode::NoError | ResponseCode::NXDomain
                ) =>
            {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error.to_string()),
        };
        let target = |data: &RData| match data {
            RData::SRV(record) => {
                let host = record.target.to_ascii();
                let host = host.trim_end_matches('.');
                // The root says that the service is not there.
                (!host.is_empty()).then(|| (host.to_ascii_lowercase(), record.port))
            }
            _ => None,
        };
        let answers = found.answers().iter();
        let mut targets: Vec<_> = answers.filter_map(|one| target(&one.data)).collect();
        targets.sort_unstable();
        targets.dedup();
        Ok(targets)
    }

    /// The addresses of a host, IPv4 first, at least one.
    ///
    /// # Errors
    /// What went wrong, for a person.
    pub(super) async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let resolver = self.resolver()?;
        let found = resolver
            .lookup_ip(host)
            .await
            .map_err(|error| error.to_string())?;
        let addresses: Vec<IpAddr> = found.iter().collect();
        if addresses.is_empty() {
            return Err("the name has no address".to_owned());
        }
        Ok(addresses)
    }

    fn resolver(&self) -> Result<Arc<TokioResolver>, String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_mut() {
            if known.looked.elapsed() < LOOK_AGAIN {
                return known.resolver.clone();
            }
            known.looked = Instant::now();
            if known.changed == settings_changed() && known.resolver.is_ok() {
                return known.resolver.clone();
            }
        }
        let made = Known {
            looked: Instant::now(),
            changed: settings_changed(),
            resolver: new_resolver(&self.servers).map(Arc::new),
        };
        known.insert(made).resolver.clone()
    }
}

fn settings_changed() -> Option<SystemTime> {
    std::fs::metadata(RESOLV_CONF)
        .and_then(|about| about.modified())
        .ok()
}

fn new_resolver(servers: &[SocketAddr]) -> Result<TokioResolver, String> {
    let mut builder = match servers {
        [] => TokioResolver::builder_tokio()
            .map_err(|error| format!("no name servers: reading {RESOLV_CONF}: {error}"))?,
        servers => {
            let servers = servers.iter().map(|server| {
                let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
                connections
                    .iter_mut()
                    .for_each(|one| one.port = server.port());
                NameServerConfig::new(server.ip(), true, connections)
            });
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let options = builder.options_mut();
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder
        .build()
        .map_err(|error| format!("no resolver: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_need_no_lookup() {
        assert_eq!(without_lookup("192.0.2.1").expect("an address").len(), 1);
        assert_eq!(
            without_lookup("::1"),
            Some(vec![Ipv6Addr::LOCALHOST.into()])
        );
        for host in ["localhost", "LocalHost.", "a.localhost"] {
            let addresses = without_lookup(host).expect("needs no lookup");
            assert_eq!(addresses[0], IpAddr::from(Ipv4Addr::LOCALHOST), "{host}");
        }
        assert_eq!(without_lookup("localhost.example"), None);
    }
}
