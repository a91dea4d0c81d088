//! A client that costs little: HTTP/1.1 over one connection that stays open, and no more of it than Muster answers with.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    body: Vec<u8>,
}

impl Answer {
    /// The body of an answer that must have this status.
    pub(crate) fn of_status(self, status: u16) -> anyhow::Result<Value> {
        if self.status != status {
            bail!("{status} was expected, not {}: {}", self.status, String::from_utf8_lossy(&self.body));
        }
        serde_json::from_slice(&self.body).context("the answer is no JSON")
    }

    /// The body as it is.
    pub(crate) fn text(self) -> anyhow::Result<String> {
        Ok(String::from_utf8(self.body)?)
    }
}

/// A request as it goes over the wire.
pub(crate) fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
    if body.is_empty() {
        return format!("{head}\r\n").into_bytes();
    }
    format!("{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// A request with lines of JSON.
pub(crate) fn ndjson(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n");
    format!("{head}Content-Type: application/x-ndjson\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// The answer in `buffer` once all of it is there.
fn parse(buffer: &[u8]) -> anyhow::Result<Option<Answer>> {
    let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&buffer[..end])?.to_ascii_lowercase();
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.context("an answer without a length")?.trim().parse()?;
    let body = &buffer[end + 4..];
    Ok((body.len() >= length).then(|| Answer { status, body: body[..length].to_vec() }))
}

/// One that waits for each answer and does nothing else meanwhile: the least that a caller can add to a latency.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    pub(crate) fn send(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        self.stream.write_all(request)?;
        self.buffer.clear();
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut chunk)? {
                0 => bail!("the server closed the connection"),
                count => self.buffer.extend_from_slice(&chunk[..count]),
            }
            if let Some(answer) = parse(&self.buffer)? {
                return Ok(answer);
            }
        }
    }
}

/// One of many that share a thread.
pub(crate) struct SharedClient {
    stream: tokio::net::TcpStream,
    buffer: Vec<u8>,
}

impl SharedClient {
    pub(crate) async fn connect(address: &str) -> anyhow::Result<Self> {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    pub(crate) async fn send(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection");
            }
            if let Some(answer) = parse(&self.buffer)? {
                return Ok(answer);
            }
        }
    }
}
