//! Tokens of OAUTHBEARER that nobody signed, which the broker of the tests takes, and a provider that
//! gives some.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A token for this subject that expires after this time.
///
/// # Panics
/// When the clock stands before 1970.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the broker compares with the wall clock"
)]
pub fn unsecured_token(subject: &str, life: Duration) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a sane clock");
    let (issued, expires) = (now.as_secs(), (now + life).as_secs_f64());
    let claims = format!(r#"{{"sub":"{subject}","iat":{issued},"exp":{expires:.3}}}"#);
    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    format!("{}.{}.", part(r#"{"alg":"none"}"#), part(&claims))
}

/// A server of HTTP on loopback that answers whatever is asked by a function's answer. Its thread ends
/// with the process.
#[derive(Debug)]
pub struct TokenProvider {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl TokenProvider {
    /// Starts it; `answer` gives a status and a body.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn start(answer: impl Fn() -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if let Ok(request) = stream.and_then(|stream| reply(stream, &answer)) {
                    heard
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(request);
                }
            }
        });
        Self {
            url: format!("http://{address}/token"),
            asked,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All requests so far, as they came.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Reads a request with its body and answers it.
fn reply(mut stream: TcpStream, answer: &impl Fn() -> (u16, String)) -> std::io::Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let text = String::from_utf8_lossy(&request);
        let lower = text.to_ascii_lowercase();
        let length = lower.split("content-length: ").nth(1);
        let length = length.and_then(|rest| rest.lines().next()?.parse::<usize>().ok());
        if let Some(head) = text.find("\r\n\r\n")
            && text.len() >= head + 4 + length.unwrap_or(0)
        {
            break;
        }
        match stream.read(&mut buffer)? {
            0 => break,
            count => request.extend_from_slice(&buffer[..count]),
        }
    }
    let (status, body) = answer();
    write!(
        stream,
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )?;
    Ok(String::from_utf8_lossy(&request).into_owned())
}
