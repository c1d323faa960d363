//! Tokens for `OAUTHBEARER`: fetched when librdkafka asks, and shared by all clients of the settings.
//!
//! librdkafka asks for a token when a client is made and again when four fifths of its life are over. Not
//! how one is fetched: that is the owner's function. One of the four files of the project with `unsafe`:
//! `rdkafka` 0.39 hands the question to consumers and producers alone, an admin client has to be given its
//! token.
#![expect(
    unsafe_code,
    reason = "rd_kafka_oauthbearer_set_token has no safe binding; see the head of this file"
)]

use std::error::Error;
use std::ffi::{CString, c_char};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::{Client, OAuthToken};
use rdkafka_sys as native;

use super::{Sasl, Secret};

/// A token that was just fetched is good for the other clients too.
const FRESH: Duration = Duration::from_secs(30);

/// A token that brokers accept for a while.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token itself.
    pub text: Secret,
    /// Who it is for, the claim `sub`; brokers read it in the token itself.
    pub principal: String,
    /// When it expires, milliseconds since 1970 UTC.
    pub expires_ms: i64,
}

type Fetch = dyn Fn() -> Result<Token, String> + Send + Sync;

/// Where tokens come from.
pub struct Tokens {
    fetch: Box<Fetch>,
    last: Mutex<Option<(Token, Instant)>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tokens")
    }
}

impl Tokens {
    /// Tokens that this fetches. It may block, for a bounded time, and is called on threads of clients; its
    /// error says what to do, and has no secret in it.
    pub fn new(fetch: impl Fn() -> Result<Token, String> + Send + Sync + 'static) -> Self {
        Self {
            fetch: Box::new(fetch),
            last: Mutex::default(),
        }
    }

    /// A token, fetched now or a moment ago. **Blocks** as long as a fetch takes.
    ///
    /// # Errors
    /// Why there is none, and what to do.
    pub fn token(&self) -> Result<Token, String> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, fetched)) = &*last
            && fetched.elapsed() < FRESH
            && token.is_young(*fetched)
        {
            return Ok(token.clone());
        }
        let token = (self.fetch)()?;
        *last = Some((token.clone(), Instant::now()));
        Ok(token)
    }
}

impl Token {
    /// Whether less than half of its life is over, by the clock that it was fetched by.
    #[expect(
        clippy::disallowed_methods,
        reason = "tokens expire by the wall clock, and this crate has no clock of the model"
    )]
    fn is_young(&self, fetched: Instant) -> bool {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now_ms = now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
        let left_ms = self.expires_ms.saturating_sub(now_ms);
        i64::try_from(fetched.elapsed().as_millis()).is_ok_and(|age_ms| age_ms < left_ms)
    }
}

/// What a client's context answers when librdkafka asks for a token.
pub(crate) fn give(sasl: Option<&Sasl>) -> Result<OAuthToken, Box<dyn Error>> {
    let Some(Sasl::Token(tokens)) = sasl else {
        return Err("there is no source of tokens".into());
    };
    let token = tokens.token()?;
    Ok(OAuthToken {
        token: token.text.0,
        principal_name: token.principal,
        lifetime_ms: token.expires_ms,
    })
}

/// Gives a client its token. **Blocks** as long as a fetch takes.
///
/// # Errors
/// Why there is none, or why librdkafka does not take it.
pub(crate) fn set<C: ClientContext>(client: &Client<C>, tokens: &Tokens) -> Result<(), String> {
    let token = tokens.token()?;
    let plain = |text: String| CString::new(text).map_err(|_| "the token has a NUL".to_owned());
    let (text, principal) = (plain(token.text.0)?, plain(token.principal)?);
    let mut said = [0 as c_char; 256];
    // SAFETY: the client lives as long as the borrow; both texts end with NUL and outlive the call, which
    // copies them; there are no extensions; `said` is as long as is told.
    let code = unsafe {
        native::rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            text.as_ptr(),
            token.expires_ms,
            principal.as_ptr(),
            std::ptr::null_mut(),
            0,
            said.as_mut_ptr(),
            said.len(),
        )
    };
    if code == native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    let said: Vec<u8> = said
        .iter()
        .map(|byte| *byte as u8)
        .take_while(|byte| *byte != 0)
        .collect();
    Err(format!(
        "the token is not taken: {}",
        String::from_utf8_lossy(&said)
    ))
}
