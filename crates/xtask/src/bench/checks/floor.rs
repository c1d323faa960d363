//! What the kernel takes for a check: one thread that connects, sends, receives and closes.

use anyhow::{Context, ensure};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const WATCH: Duration = Duration::from_secs(5);

pub(super) fn checks_per_cpu_second(port: u16) -> anyhow::Result<f64> {
    eprintln!("=== a bare loop: {WATCH:?}");
    let request = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    let mut answer = [0; 4_096];
    let mut checks = 0_u64;
    let (began, used) = (Instant::now(), thread_cpu()?);
    while began.elapsed() < WATCH {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).context("connect to nginx")?;
        stream.write_all(request.as_bytes()).context("ask nginx")?;
        let mut bytes = 0;
        loop {
            match stream
                .read(&mut answer[bytes..])
                .context("read nginx's answer")?
            {
                0 => break,
                more => bytes += more,
            }
        }
        ensure!(
            answer.starts_with(b"HTTP/1.1 200 "),
            "nginx answered otherwise"
        );
        checks += 1;
    }
    Ok(checks as f64 / (thread_cpu()? - used).as_secs_f64())
}

fn thread_cpu() -> anyhow::Result<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let nanos = u32::try_from(time.tv_nsec).context("a time of the thread")?;
    let seconds = u64::try_from(time.tv_sec).context("a time of the thread")?;
    Ok(Duration::new(seconds, nanos))
}
