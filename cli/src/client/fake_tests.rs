//! A server for tests that answers what it was told to, in order, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// One request that came in.
#[derive(Clone, Debug)]
pub(crate) struct FakeRequest {
    /// Its first line.
    pub(crate) line: String,
    /// Its headers.
    pub(crate) head: String,
    /// Its body.
    pub(crate) body: String,
}

/// The server. It stops listening after its last answer.
pub(crate) struct FakeServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<FakeRequest>>>,
}

impl FakeServer {
    /// Listens on a free port. Each answer is a status and a body, on a connection of its own.
    pub(crate) fn start(answers: Vec<(u16, &'static str)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        if !answers.is_empty() {
            std::thread::spawn(move || {
                for (status, body) in answers {
                    let (stream, _) = listener.accept().expect("a connection");
                    answer(stream, status, body, &seen);
                }
            });
        }
        Self { address, requests }
    }

    /// Its address as a URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked so far.
    pub(crate) fn requests(&self) -> Vec<FakeRequest> {
        self.requests.lock().expect("no panic in the server").clone()
    }
}

fn answer(mut stream: TcpStream, status: u16, body: &str, seen: &Mutex<Vec<FakeRequest>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut line = String::new();
    reader.read_line(&mut line).expect("a first line");
    let mut head = String::new();
    while reader.read_line(&mut head).expect("a header") > 2 {}
    let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut request_body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut request_body).expect("the body");
    let body_text = String::from_utf8(request_body).expect("text");
    // Remembered before it is answered, so that who got the answer finds it here.
    seen.lock().expect("no panic elsewhere").push(FakeRequest { line: line.trim().to_owned(), head, body: body_text });
    let length = body.len();
    let kind = if body.contains("data:") { "text/event-stream" } else { "application/json" };
    let head = format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {length}");
    let reply = format!("{head}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(reply.as_bytes()).expect("the reply goes out");
}
