//! Who sends: agent, epoch, sequence and host name.

use std::fmt;

/// The stable id of one installation: 1 to 64 characters of `[A-Za-z0-9_.:-]`.
///
/// It is derived from the machine id or kept in the state folder; it is not the host name, so that
/// two hosts of one name stay apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentId(String);

/// A host name: 1 to 253 bytes (RFC 1035, section 2.3.4, without the root dot), no control
/// characters. Other producers' names are data, so nothing more is asked of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(String);

/// Where a batch stands in the stream of its agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The installation that sent it.
    pub agent: AgentId,
    /// Begun anew at every start of the agent and after a jump of the clock: the microseconds of
    /// that moment, always greater than the one before.
    pub epoch: i64,
    /// 0 for the first batch of an epoch, then one more for each. Below 2^63, because the
    /// databases' integers are signed.
    pub sequence: u64,
}

/// Why a text is no [`AgentId`] or no [`Host`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// An agent id that does not follow its pattern.
    #[error("an agent id has 1 to 64 characters of [A-Za-z0-9_.:-]")]
    Agent,
    /// A host name that is too long, empty, or has a control character.
    #[error("a host name has 1 to 253 bytes and no control characters")]
    Host,
}

impl AgentId {
    /// Checks an agent id.
    ///
    /// # Errors
    /// [`IdentityError::Agent`] when it does not follow its pattern.
    pub fn new(text: impl Into<String>) -> Result<Self, IdentityError> {
        let text = text.into();
        Self::check(&text)?;
        Ok(Self(text))
    }

    /// Checks without keeping.
    ///
    /// # Errors
    /// As [`AgentId::new`].
    pub fn check(text: &str) -> Result<(), IdentityError> {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
        if text.is_empty() || text.len() > 64 || !text.bytes().all(fine) {
            return Err(IdentityError::Agent);
        }
        Ok(())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Host {
    /// Checks a host name.
    ///
    /// # Errors
    /// [`IdentityError::Host`] when it is empty, longer than 253 bytes or has control characters.
    pub fn new(text: impl Into<String>) -> Result<Self, IdentityError> {
        let text = text.into();
        Self::check(&text)?;
        Ok(Self(text))
    }

    /// Checks without keeping.
    ///
    /// # Errors
    /// As [`Host::new`].
    pub fn check(text: &str) -> Result<(), IdentityError> {
        if text.is_empty() || text.len() > 253 || text.chars().any(char::is_control) {
            return Err(IdentityError::Host);
        }
        Ok(())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_up_to_253_bytes() {
        assert!(Host::new("h".repeat(253)).is_ok());
        assert_eq!(Host::new("h".repeat(254)), Err(IdentityError::Host));
        assert_eq!(Host::new(""), Err(IdentityError::Host));
        assert_eq!(Host::new("a\0b"), Err(IdentityError::Host));
    }

    #[test]
    fn agent_ids_are_plain_words() {
        assert!(AgentId::new("0b6f:web-1_a.b").is_ok());
        for bad in ["", "a b", "é", &"a".repeat(65)] {
            assert_eq!(AgentId::new(bad), Err(IdentityError::Agent), "{bad:?}");
        }
    }
}
