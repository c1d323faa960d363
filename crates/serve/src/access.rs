//! Tokens, and users with passwords.
//!
//! A token is long and random, so its SHA-256 is kept and compared in constant time. A password is what
//! people remember, so its argon2 hash stands in a file. Argon2 takes time and memory on purpose: one is
//! worked out at a time, what was right is remembered under a key that only this process knows, and a
//! name that does not exist takes as long as one that does.

use crate::watched::Watched;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use hyper::header::{self, HeaderMap};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

/// 7 MiB in five passes: of the parameters that OWASP's "Password Storage Cheat Sheet" has as equal, those
/// that take the least memory.
const MEMORY_KIB: u32 = 7_168;
const PASSES: u32 = 5;
/// Hashes that would take more than this are refused: 64 MiB, and as many passes as take a second.
const MOST_MEMORY_KIB: u32 = 65_536;
const MOST_PASSES: u32 = 20;
/// How long somebody waits for the others' passwords to be looked at.
const TURN_WITHIN: Duration = Duration::from_secs(5);
/// So many passwords that were right are remembered.
const MOST_REMEMBERED: usize = 64;
/// The longest password that is looked at, in bytes.
const MOST_PASSWORD_BYTES: usize = 1_024;

/// What a sender must know. Only its hash is kept, and nothing shows it.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl Token {
    /// The token of this text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// The one line of a file.
    fn read(file: &Path) -> Result<Self, String> {
        let shown = file.display();
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("{shown}: the file cannot be read: {error}"))?;
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(format!("{shown}: the token is empty")),
            line if line.contains(['\n', '\0']) => Err(format!("{shown}: a token is one line")),
            line => Ok(Self::new(line)),
        }
    }

    fn is(&self, text: &str) -> bool {
        self.0.ct_eq(&Self::new(text).0).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(***)")
    }
}

/// What somebody shows to come in.
#[derive(Clone, PartialEq, Eq)]
pub enum Shown {
    /// A token.
    Token(String),
    /// A user's name and password; a token may stand in the place of the password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
}

impl Shown {
    /// What the header `Authorization` has: `Bearer` or `Token` with a token, `Basic` with name and
    /// password.
    #[must_use]
    pub fn in_header(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, text) = text.split_once(' ')?;
        match scheme.to_ascii_lowercase().as_str() {
            "bearer" | "token" => Some(Self::Token(text.trim().to_owned())),
            "basic" => {
                let decoder = base64::engine::general_purpose::STANDARD;
                let text = String::from_utf8(decoder.decode(text.trim()).ok()?).ok()?;
                let (user, password) = text.split_once(':')?;
                Some(Self::Password {
                    user: user.to_owned(),
                    password: password.to_owned(),
                })
            }
            _ => None,
        }
    }
}

/// What became of what was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Right,
    Wrong,
    /// Too many others have theirs looked at.
    Busy,
}

/// Who may come in: whoever knows the token, or is one of the users; everybody if there are neither.
#[derive(Default)]
pub(crate) struct Access {
    token: Option<Known>,
    users: Option<Watched<Users>>,
    turn: Turn,
}

/// A token that is the same as long as the program runs, or that stands in a file.
enum Known {
    Fixed(Token),
    InFile(Watched<Token>),
}

impl Known {
    fn is(&self, text: &str) -> bool {
        match self {
            Self::Fixed(token) => token.is(text),
            Self::InFile(file) => file.get().is(text),
        }
    }
}

/// One argon2 at a time.
struct Turn(Arc<Semaphore>);

impl Default for Turn {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Access {
    /// Reads the users.
    ///
    /// # Errors
    /// What is wrong with their file.
    pub(crate) fn new(token: Option<Token>, users_file: Option<&Path>) -> Result<Self, String> {
        let open = |file: &Path| Watched::open(vec![file.to_owned()], Users::read);
        Ok(Self {
            token: token.map(Known::Fixed),
            users: users_file.map(open).transpose()?,
            turn: Turn::default(),
        })
    }

    /// The same with a token that stands in a file, and is read again when that was replaced.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn with_token_file(mut self, file: Option<&Path>) -> Result<Self, String> {
        if let Some(file) = file {
            let read = Watched::open(vec![file.to_owned()], |files| Token::read(&files[0]));
            self.token = Some(Known::InFile(read?));
        }
        Ok(self)
    }

    pub(crate) fn is_for_all(&self) -> bool {
        self.token.is_none() && self.users.is_none()
    }

    pub(crate) fn has_users(&self) -> bool {
        self.users.is_some()
    }

    pub(crate) async fn judge(&self, shown: Option<Shown>) -> Verdict {
        if self.is_for_all() {
            return Verdict::Right;
        }
        let (text, user) = match shown {
            None => return Verdict::Wrong,
            Some(Shown::Token(text)) => (text, None),
            Some(Shown::Password { user, password }) => (password, Some(user)),
        };
        if self.token.as_ref().is_some_and(|token| token.is(&text)) {
            return Verdict::Right;
        }
        match (&self.users, user) {
            (Some(users), Some(user)) => self.password(users.get(), user, text).await,
            _ => Verdict::Wrong,
        }
    }

    async fn password(&self, users: Arc<Users>, user: String, password: String) -> Verdict {
        if password.len() > MOST_PASSWORD_BYTES {
            return Verdict::Wrong;
        }
        if users.remembers(&user, &password) {
            return Verdict::Right;
        }
        let turn = Arc::clone(&self.turn.0).acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout(TURN_WITHIN, turn).await else {
            return Verdict::Busy;
        };
        // The permit goes along: who gives up the wait does not make room for a second one.
        let verify = move || {
            let is_right = users.verify(&user, &password);
            drop(turn);
            is_right
        };
        match tokio::task::spawn_blocking(verify).await {
            Ok(true) => Verdict::Right,
            _ => Verdict::Wrong,
        }
    }
}

/// The users of one file.
struct Users {
    hashes: HashMap<String, PasswordHash>,
    /// What is verified for a name that does not exist.
    nobody: PasswordHash,
    /// Makes what is remembered worth nothing to others.
    key: [u8; 32],
    right: Mutex<Vec<[u8; 32]>>,
}

impl Users {
    fn read(files: &[PathBuf]) -> Result<Self, String> {
        let file = files[0].as_path();
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("{}: the file cannot be read: {error}", file.display()))?;
        Self::parse(&text)
            .map_err(|(line, problem)| format!("{}:{line}: {problem}", file.display()))
    }

    /// Lines `name:hash`; empty ones and those that begin with `#` say nothing.
    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut hashes = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let refused = |problem: &str| Err((index + 1, problem.to_owned()));
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((user, hash)) = line.split_once(':').filter(|(user, _)| !user.is_empty())
            else {
                return refused(
                    "expected name:hash, as `tidegauge config hash-password NAME` prints it",
                );
            };
            let Some(hash) = usable(hash) else {
                return refused(
                    "this is no argon2 hash of at most 64 MiB and 20 passes; `tidegauge config hash-password NAME` makes one",
                );
            };
            if hashes.insert(user.to_owned(), hash).is_some() {
                return refused("this name is already there");
            }
        }
        if hashes.is_empty() {
            return Err((1, "there is no user: nobody could come in".to_owned()));
        }
        let unusable = |_| (1, "random numbers are not to be had".to_owned());
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(unusable)?;
        let password = base64::engine::general_purpose::STANDARD.encode(key);
        let nobody = hash_password(&password).ok().as_deref().and_then(usable);
        Ok(Self {
            hashes,
            nobody: nobody.ok_or((1, "the system has no random numbers".to_owned()))?,
            key,
            right: Mutex::default(),
        })
    }

    fn verify(&self, user: &str, password: &str) -> bool {
        let known = self.hashes.get(user);
        let hash = known.unwrap_or(&self.nobody);
        let is_right = Argon2::default()
            .verify_password(password.as_bytes(), hash)
            .is_ok();
        let is_right = is_right && known.is_some();
        if is_right {
            let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
            if right.len() == MOST_REMEMBERED {
                right.remove(0);
            }
            right.push(self.mark(user, password));
        }
        is_right
    }

    fn remembers(&self, user: &str, password: &str) -> bool {
        let mark = self.mark(user, password);
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        right.iter().any(|known| known.ct_eq(&mark).into())
    }

    fn mark(&self, user: &str, password: &str) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.key);
        digest.update((user.len() as u64).to_be_bytes());
        digest.update(user);
        digest.update(password);
        digest.finalize().into()
    }
}

/// A hash of one of the kinds of argon2 that does not take too much.
fn usable(text: &str) -> Option<PasswordHash> {
    let hash = PasswordHash::new(text).ok()?;
    Algorithm::try_from(hash.algorithm.as_str()).ok()?;
    hash.hash?;
    let params = Params::try_from(&hash).ok()?;
    let fits = params.m_cost() <= MOST_MEMORY_KIB && params.t_cost() <= MOST_PASSES;
    fits.then_some(hash)
}

/// The argon2id hash of a password with a random salt, as it stands in a file of users.
///
/// # Errors
/// When the password is empty or longer than 1,024 bytes, or the system has no random numbers.
pub fn hash_password(password: &str) -> Result<String, String> {
    if password.is_empty() || password.len() > MOST_PASSWORD_BYTES {
        return Err(format!("a password has 1 to {MOST_PASSWORD_BYTES} bytes"));
    }
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|error| error.to_string())?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password(password.as_bytes());
    Ok(hash.map_err(|error| error.to_string())?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(user: &str, password: &str) -> Option<Shown> {
        Some(Shown::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }

    #[tokio::test]
    async fn the_right_password_comes_in_again_without_argon2() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        let hash = hash_password("correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=7168,t=5,p=1$"), "{hash}");
        std::fs::write(&file, format!("# readers\n\nanna:{hash}\n")).unwrap();
        let access = Access::new(Some(Token::new("t0ken")), Some(&file)).unwrap();
        assert_eq!(
            access.judge(shown("anna", "correct horse")).await,
            Verdict::Right
        );
        // With the only turn taken, what is remembered still comes in and all else waits.
        let _turn = access.turn.0.clone().acquire_owned().await.unwrap();
        assert_eq!(
            access.judge(shown("anna", "correct horse")).await,
            Verdict::Right
        );
        assert_eq!(
            access.judge(Some(Shown::Token("t0ken".into()))).await,
            Verdict::Right
        );
        assert_eq!(access.judge(shown("", "t0ken")).await, Verdict::Right);
        assert_eq!(
            access
                .judge(Some(Shown::Token("correct horse".into())))
                .await,
            Verdict::Wrong
        );
        assert_eq!(access.judge(None).await, Verdict::Wrong);
        assert_eq!(
            access.judge(shown("anna", &"x".repeat(2_000))).await,
            Verdict::Wrong
        );
    }

    #[tokio::test]
    async fn wrong_passwords_and_unknown_names_stay_out() {
        let users = Users::parse(&format!("anna:{}", hash_password("one").unwrap())).unwrap();
        for (user, password) in [("anna", "two"), ("bert", "one"), ("", ""), ("anna", "")] {
            assert!(!users.verify(user, password), "{user} {password}");
            assert!(!users.remembers(user, password));
        }
        assert!(users.verify("anna", "one") && users.remembers("anna", "one"));
        assert!(
            !users.remembers("ann", "aone"),
            "the border between the two counts"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        std::fs::write(&file, format!("anna:{}", hash_password("one").unwrap())).unwrap();
        let access = Access::new(None, Some(&file)).unwrap();
        let _turn = access.turn.0.clone().acquire_owned().await.unwrap();
        assert_eq!(access.judge(shown("anna", "one")).await, Verdict::Busy);
    }

    #[test]
    fn a_file_of_users_is_refused_with_its_line() {
        let hash = hash_password("one").unwrap();
        let large = hash.replace("m=7168", "m=4194304");
        for (text, line, problem) in [
            (String::new(), 1, "there is no user"),
            ("# none\n".to_owned(), 1, "there is no user"),
            (format!("anna:{hash}\nbert\n"), 2, "expected name:hash"),
            (format!(":{hash}"), 1, "expected name:hash"),
            ("anna:secret".to_owned(), 1, "no argon2 hash"),
            (
                "anna:$2y$10$abcdefghijklmnopqrstuv".to_owned(),
                1,
                "no argon2 hash",
            ),
            (
                "anna:$argon2id$v=19$m=7168,t=5,p=1".to_owned(),
                1,
                "no argon2 hash",
            ),
            (format!("anna:{large}"), 1, "no argon2 hash"),
            (format!("anna:{hash}\nanna:{hash}"), 2, "already there"),
        ] {
            let Err((at, said)) = Users::parse(&text) else {
                panic!("{text}");
            };
            assert_eq!(at, line, "{said}");
            assert!(said.contains(problem) && !said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn a_token_is_not_shown_d13() {
        let token = Token::new("secret");
        assert_eq!(format!("{token:?}"), "Token(***)");
        assert!(token.is("secret") && !token.is("secret "));
        let mut headers = HeaderMap::new();
        for (text, expected) in [
            ("Basic dXNlcjpwYTpzcw==", shown("user", "pa:ss")),
            ("basic x", None),
            ("Bearer  a ", Some(Shown::Token("a".into()))),
            ("Digest a", None),
            ("Bearer", None),
        ] {
            headers.insert("authorization", text.parse().unwrap());
            assert!(Shown::in_header(&headers) == expected, "{text}");
        }
    }
}
