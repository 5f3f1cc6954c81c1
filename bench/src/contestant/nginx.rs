//! Debian's nginx with a configuration of our own, in the foreground, all its files in one folder.
//!
//! Tuned as its users tune it for static files: a worker per core, `sendfile`, descriptors kept
//! open, no access log, connections kept. Below [`JSON`], `gzip_static` serves `x.gz` for `x`
//! and `gunzip` inflates it for who does not accept gzip. Its DAV PUT writes a temporary file and renames it:
//! it never syncs, so its acknowledgements do not survive a power cut.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::Result;

/// Path of what is kept as gzip.
pub(crate) const JSON: &str = "/v1/proofs/json/";

/// nginx, serving the folder `root` inside `folder`.
pub(super) fn command(folder: &Path, address: SocketAddr) -> Result<Command> {
    fs::create_dir_all(folder.join("root"))?;
    fs::create_dir_all(folder.join("temporary"))?;
    let file = folder.join("nginx.conf");
    fs::write(&file, configuration(folder, address))?;
    let mut command = Command::new("nginx");
    command.arg("-e").arg("stderr").arg("-p").arg(folder).arg("-c").arg(file);
    Ok(command)
}

fn configuration(folder: &Path, address: SocketAddr) -> String {
    let folder = folder.display();
    // started by root, the workers would else become a user who may not read the folder
    let user = if rustix::process::geteuid().is_root() { "user root root;" } else { "" };
    format!(
        r#"
daemon off;
{user}
worker_processes auto;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    open_file_cache max=20000 inactive=1h;
    open_file_cache_valid 1h;
    client_max_body_size 0;
    client_body_buffer_size 128k;
    client_body_temp_path {folder}/temporary/body;
    proxy_temp_path {folder}/temporary/proxy;
    fastcgi_temp_path {folder}/temporary/fastcgi;
    uwsgi_temp_path {folder}/temporary/uwsgi;
    scgi_temp_path {folder}/temporary/scgi;
    default_type application/octet-stream;
    server {{
        listen {address} reuseport;
        root {folder}/root;
        location / {{
            dav_methods PUT;
            create_full_put_path on;
        }}
        location {JSON} {{
            default_type application/json;
            gzip_static always;
            gunzip on;
        }}
    }}
}}
"#
    )
}
