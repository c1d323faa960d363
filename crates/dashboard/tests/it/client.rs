//! An HTTP/1.1 client that is just enough for these tests, so that no other crate is needed.

use crate::{DEADLINE, Server};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

/// Lines of an answer that goes on.
pub(crate) struct Stream(BufReader<TcpStream>);

impl Stream {
    /// The next line without its end; `None` when the server ended the answer.
    pub(crate) async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = tokio::time::timeout(DEADLINE, self.0.read_line(&mut line)).await;
        match read.expect("a line in time") {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
        }
    }

    /// The data of the next event of this name.
    pub(crate) async fn event(&mut self, name: &str) -> serde_json::Value {
        loop {
            let line = self.line().await.expect("the stream goes on");
            if line == format!("event: {name}") {
                break;
            }
        }
        loop {
            let line = self.line().await.expect("the stream goes on");
            if let Some(data) = line.strip_prefix("data: ") {
                return serde_json::from_str(data).expect("JSON");
            }
        }
    }
}

impl Server {
    async fn ask(&self, path: &str, headers: &str) -> Stream {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        self.send(request.as_bytes()).await
    }

    async fn send(&self, request: &[u8]) -> Stream {
        let mut stream = TcpStream::connect(self.address).await.expect("connected");
        // A server that has heard enough may not read the rest.
        stream.write_all(request).await.ok();
        Stream(BufReader::new(stream))
    }

    /// The answer to exactly these bytes.
    pub(crate) async fn raw(&self, request: &[u8]) -> Answer {
        self.send(request).await.answer().await
    }

    /// A whole answer.
    pub(crate) async fn get(&self, path: &str, headers: &str) -> Answer {
        let headers = format!("connection: close\r\n{headers}");
        self.ask(path, &headers).await.answer().await
    }

    /// An answer that goes on.
    pub(crate) async fn stream(&self, path: &str) -> Stream {
        self.ask(path, "").await
    }
}

impl Stream {
    async fn answer(mut self) -> Answer {
        let first = self.line().await.expect("a status line");
        let status = first
            .split(' ')
            .nth(1)
            .expect("a status")
            .parse()
            .expect("a number");
        let mut answer = Answer {
            status,
            headers: Vec::new(),
            body: String::new(),
        };
        while let Some(line) = self.line().await.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").expect("a header");
            answer.headers.push((name.to_lowercase(), value.to_owned()));
        }
        let read = self.0.read_to_string(&mut answer.body);
        tokio::time::timeout(DEADLINE, read)
            .await
            .expect("in time")
            .expect("a body");
        answer
    }
}
