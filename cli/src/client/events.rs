//! Reads a stream of server-sent events.

use std::io::{BufRead, BufReader, Read};

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamEvent {
    /// What the stream can be resumed after, where the message says so.
    pub(crate) id: Option<String>,
    /// Its kind.
    pub(crate) kind: String,
    /// Its data.
    pub(crate) data: String,
}

/// The messages of a stream as they come. It ends with the connection, and a message that was cut off is none.
pub(crate) struct SseReader<R> {
    lines: BufReader<R>,
}

impl<R: Read> SseReader<R> {
    /// The messages in `stream`.
    pub(crate) fn new(stream: R) -> Self {
        Self { lines: BufReader::new(stream) }
    }

    fn message(&mut self) -> std::io::Result<Option<StreamEvent>> {
        let mut event = StreamEvent::default();
        let mut line = String::new();
        loop {
            line.clear();
            self.lines.read_line(&mut line)?;
            let Some(text) = line.strip_suffix('\n') else { return Ok(None) };
            let text = text.strip_suffix('\r').unwrap_or(text);
            if text.is_empty() {
                if !event.data.is_empty() {
                    return Ok(Some(event));
                }
                event = StreamEvent::default();
                continue;
            }
            // A line that begins with a colon is a comment, which says that the server is still there.
            let (field, value) = text.split_once(':').unwrap_or((text, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => event.id = Some(value.to_owned()),
                "event" => value.clone_into(&mut event.kind),
                "data" if event.data.is_empty() => value.clone_into(&mut event.data),
                "data" => event.data.extend(["\n", value]),
                _ => {}
            }
        }
    }
}

impl<R: Read> Iterator for SseReader<R> {
    type Item = std::io::Result<StreamEvent>;

    fn next(&mut self) -> Option<Self::Item> {
        self.message().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> Vec<StreamEvent> {
        SseReader::new(text.as_bytes()).map(|event| event.expect("text")).collect()
    }

    fn event(id: Option<&str>, kind: &str, data: &str) -> StreamEvent {
        StreamEvent { id: id.map(str::to_owned), kind: kind.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn messages_are_read_one_by_one() {
        let text = ": keep-alive\n\nid: 1\nevent: queued\ndata: {\"a\": 1}\n\nevent: progress\r\ndata:{}\r\n\r\n\
                    data: two\ndata: lines\n\n";
        let expected =
            [event(Some("1"), "queued", "{\"a\": 1}"), event(None, "progress", "{}"), event(None, "", "two\nlines")];
        assert_eq!(events(text), expected);
    }

    #[test]
    fn a_message_that_was_cut_off_is_none() {
        assert_eq!(events("id: 1\nevent: queued\ndata: {}\n\nid: 2\nevent: runn"), [event(Some("1"), "queued", "{}")]);
        assert_eq!(events("id: 2\ndata: {}\n"), [], "its end did not come");
        assert_eq!(events(""), []);
    }
}
