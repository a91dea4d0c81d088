//! A small HTTP client that sends exactly what a test says, and reads streams line by line.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// No answer takes longer than this.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names are in small letters.
    pub(crate) headers: Vec<(String, String)>,
    /// The body as JSON; as a JSON text where it is none.
    pub(crate) body: Value,
}

impl Answer {
    /// A header, by its name in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The stable word of a problem.
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// A field that is a text; empty where there is none.
    pub(crate) fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_default()
    }
}

/// A request to be sent, once.
pub(crate) struct Request {
    address: String,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    pub(crate) fn new(address: &str, method: &str, path: &str) -> Self {
        Self {
            address: address.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// Adds a header. `host` replaces the one that would be sent.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends these bytes; nothing is said about what they are.
    pub(crate) fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = Some(bytes.into());
        self
    }

    /// Sends JSON, and says so.
    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    /// Sends it and reads the whole answer.
    pub(crate) fn send(self) -> Answer {
        let line = format!("{} {}", self.method, self.path);
        self.try_send().unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// As [`Request::send`], where the server may be away.
    pub(crate) fn try_send(self) -> std::io::Result<Answer> {
        let (status, headers, mut reader) = self.open()?;
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(Answer { status, headers, body })
    }

    /// Sends it and reads the body of the answer as it comes.
    pub(crate) fn send_for_text(self) -> String {
        let (_, _, mut reader) = self.open().expect("an answer");
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("text");
        text
    }

    /// Sends it and reads the answer as a stream of lines.
    pub(crate) fn stream(self) -> Stream {
        let (status, _, reader) = self.open().expect("an answer");
        assert_eq!(status, 200, "a stream");
        Stream { lines: BufReader::new(reader) }
    }

    fn open(self) -> std::io::Result<Opened> {
        let mut socket = TcpStream::connect(&self.address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut head = format!("{} {} HTTP/1.1\r\nconnection: close\r\n", self.method, self.path);
        if !self.headers.iter().any(|(name, _)| name == "host") {
            head += &format!("host: {}\r\n", self.address);
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = &self.body {
            head += &format!("content-length: {}\r\n", body.len());
        }
        socket.write_all(format!("{head}\r\n").as_bytes())?;
        // A server that refuses a body need not read it: what it said counts, not that it hung up.
        drop(socket.write_all(self.body.as_deref().unwrap_or_default()));
        read_head(BufReader::new(socket))
    }
}

/// An answer whose head was read: status, headers, and the body to come.
type Opened = (u16, Vec<(String, String)>, Body);

fn read_head(mut socket: BufReader<TcpStream>) -> std::io::Result<Opened> {
    let invalid = |line: &str| std::io::Error::other(format!("no HTTP: {line:?}"));
    let mut line = String::new();
    socket.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|text| text.parse().ok()).ok_or_else(|| invalid(&line))?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        socket.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let value = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let kind = match (value("transfer-encoding"), value("content-length")) {
        (Some("chunked"), _) => Kind::Chunks { left: 0, over: false },
        (_, Some(length)) => Kind::Length(length.parse().map_err(|_| invalid(length))?),
        _ => Kind::UntilClosed,
    };
    Ok((status, headers, Body { socket, kind }))
}

enum Kind {
    Chunks { left: u64, over: bool },
    Length(u64),
    UntilClosed,
}

struct Body {
    socket: BufReader<TcpStream>,
    kind: Kind,
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match &mut self.kind {
            Kind::UntilClosed => self.socket.read(into),
            Kind::Length(left) => {
                let count = self.socket.by_ref().take(*left).read(into)?;
                *left -= count as u64;
                Ok(count)
            }
            Kind::Chunks { over: true, .. } => Ok(0),
            Kind::Chunks { left, over } => {
                if *left == 0 {
                    *left = next_chunk(&mut self.socket)?;
                    *over = *left == 0;
                }
                let count = self.socket.by_ref().take(*left).read(into)?;
                *left -= count as u64;
                Ok(count)
            }
        }
    }
}

/// The size of the next chunk; 0 is the end.
fn next_chunk(socket: &mut BufReader<TcpStream>) -> std::io::Result<u64> {
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        // The chunk before ends with a line's end of its own.
        if let text @ [_, ..] = line.trim_end().as_bytes() {
            let text = std::str::from_utf8(text).unwrap_or_default();
            return u64::from_str_radix(text, 16).map_err(std::io::Error::other);
        }
    }
}

/// An answer that goes on: events, or a log that is followed. Dropping it hangs up.
pub(crate) struct Stream {
    lines: BufReader<Body>,
}

/// One server-sent event.
#[derive(Clone, Debug, Default)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) data: Value,
}

impl Stream {
    /// The next line without its end; none once the stream has ended.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let count = self.lines.read_line(&mut line).expect("the stream goes on or ends, within its time");
        (count > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// The next event that has data.
    pub(crate) fn event(&mut self) -> Event {
        let mut event = Event::default();
        loop {
            let line = self.line().expect("the stream of events goes on");
            match line.split_once(':').map(|(field, value)| (field, value.trim_start())) {
                Some(("id", value)) => event.id = value.to_owned(),
                Some(("event", value)) => event.kind = value.to_owned(),
                Some(("data", value)) => event.data = serde_json::from_str(value).expect("JSON"),
                _ if line.is_empty() && !event.data.is_null() => return event,
                _ => {}
            }
        }
    }

    /// Reads on until an event is as wanted; gives all that came, that one last.
    pub(crate) fn events_until(&mut self, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            events.push(self.event());
            if events.last().is_some_and(&wanted) {
                return events;
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        drop(self.lines.get_ref().socket.get_ref().shutdown(Shutdown::Both));
    }
}
