//! Debian's nginx as the server that is checked: small pages, no log.

use super::super::process::Running;
use super::ANSWER_WITHIN;
use crate::run::{CannotTry, command};
use anyhow::Context;
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use tidegauge_testkit::eventually;
use tidegauge_testkit::servers::free_port;

/// It ends with the value.
#[derive(Debug)]
pub(super) struct Nginx {
    _child: Running,
    port: u16,
}

impl Nginx {
    pub(super) fn start(folder: &Path) -> anyhow::Result<Self> {
        let port = free_port();
        let folder = folder.join("nginx");
        std::fs::create_dir(&folder).context("make a folder for nginx")?;
        let configuration = format!(
            "daemon off; master_process off; pid {0}/pid; error_log {0}/errors;\n\
             events {{ worker_connections 8192; }}\n\
             http {{\n\
             access_log off; client_body_temp_path {0}; proxy_temp_path {0};\n\
             fastcgi_temp_path {0}; uwsgi_temp_path {0}; scgi_temp_path {0};\n\
             server {{ listen 127.0.0.1:{port} backlog=4096; location / {{\n\
             default_type text/plain; return 200 \"foobar here\\n\"; }} }}\n\
             }}\n",
            folder.display()
        );
        let file = folder.join("nginx.conf");
        std::fs::write(&file, configuration).context("write nginx's configuration")?;
        let child = command("nginx")
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(&file)
            .arg("-e")
            .arg(folder.join("errors"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.map_err(|error| {
            CannotTry(format!(
                "nginx, which is to be checked, cannot be started ({error}); Debian: nginx-light"
            ))
        })?;
        let nginx = Self {
            _child: Running(child),
            port,
        };
        eventually(ANSWER_WITHIN, "nginx answers", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Ok(nginx)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}
