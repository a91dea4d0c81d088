//! What a program prints: messages, and lines for the log.

use std::time::Duration;

use muster_domain::{Cause, Timestamp};
use tokio::time::Instant;

use super::Driver;
use crate::log::LogStream;
use crate::runtime::RunChange;
use crate::runtime::exec::host::{Host, Printed, Take, shortened};
use crate::runtime::exec::open_tasks::{MessageOutcome, OpenTasks};
use crate::runtime::exec::protocol::{AgentProtocol, Message, ProgramLife};
use crate::tasks::Finish;

/// The longest that an answer waits for what was printed to stderr before it.
const COMPLAINTS: Duration = Duration::from_millis(10);

/// What came of what was read.
#[derive(Default)]
struct Attention {
    /// It says that it is ready.
    ready: bool,
    /// Tasks that are over.
    ends: Vec<Finish>,
}

impl Attention {
    /// Takes a message; answers whether it is about anything that this program has.
    fn take(&mut self, message: Message, open_tasks: &mut OpenTasks) -> bool {
        match message {
            Message::Ready => self.ready = true,
            Message::Task(said) => match open_tasks.hear(said) {
                MessageOutcome::Foreign => return false,
                MessageOutcome::Noted => {}
                MessageOutcome::Last(finish) => self.ends.push(finish),
            },
        }
        true
    }
}

impl<P: AgentProtocol> Driver<'_, P> {
    /// Reads one piece of this stream.
    pub(super) async fn read(&mut self, stream: LogStream) {
        if P::LIFE == ProgramLife::Agent && stream == LogStream::Out {
            self.read_complaints().await;
        }
        let more = self.take_piece(stream);
        if self.host.is_over() {
            // Nothing but an error can come of it.
            self.host.ask(Cause::Stopped, Duration::ZERO, self.run.common.profile.stop_deadline);
        }
        if more {
            // One piece in a turn, so that a flood leaves room for the loop and for other agents.
            tokio::task::yield_now().await;
        }
    }

    /// What it complained about before it answered is read before the answer, so that a failure has its reason beside it. That
    /// is waited for only as long as the runtime may take to notice it: the program itself may have read it meanwhile.
    async fn read_complaints(&mut self) {
        if !self.records.open_tasks.is_empty() {
            let (complained, by) = (self.host.printed().err, Instant::now() + COMPLAINTS);
            while self.host.complains(complained, by).await {
                self.take_piece(LogStream::Err);
            }
        }
    }

    /// What was printed before the end and not read yet.
    pub(super) async fn read_rest(&mut self) {
        let streams = match P::LIFE {
            ProgramLife::Agent => [LogStream::Err, LogStream::Out],
            ProgramLife::Task => [LogStream::Out, LogStream::Err],
        };
        for stream in streams {
            self.host.read_rest(stream);
            while self.take_piece(stream) {
                while !self.records.has_room() {
                    self.records.journal.written().await;
                }
            }
            self.take_lines(stream, |host, line| host.end_stream(stream, line));
        }
    }

    /// Reads one piece, if there is one.
    fn take_piece(&mut self, stream: LogStream) -> bool {
        self.look();
        self.take_lines(stream, |host, line| host.read(stream, line))
    }

    /// Sees whether the program has read of its task, before anything is read of what it printed.
    pub(super) fn look(&mut self) {
        if let Some(excerpt) = self.records.open_tasks.untold() {
            // In this order: what was printed by now was printed before it read more than that.
            let printed = self.host.printed();
            if let Some(taken) = self.host.stdin.taken() {
                excerpt.look(printed, taken, Instant::now());
            }
        }
    }

    /// Takes what this reads.
    fn take_lines<T>(&mut self, stream: LogStream, read: impl FnOnce(&mut Host, Take<'_>) -> T) -> T {
        let (now, at) = (Instant::now(), Timestamp::now());
        let (mut heed, mut any) = (Attention::default(), false);
        let (records, protocol) = (&mut *self.records, &mut *self.protocol);
        let result = read(&mut self.host, &mut |line, stdin| {
            any = true;
            if !protocol.hear(stream, line, stdin, &mut |message| heed.take(message, &mut records.open_tasks)) {
                let named = protocol.named(line.text);
                let (text, cut) = shortened(line.text, line.cut);
                records.journal.add(at, stream, text, cut);
                if P::LIFE == ProgramLife::Agent {
                    records.tail.add(text);
                }
                records.open_tasks.print(stream, Printed { text, cut, ..line }, named);
            }
        });
        if any {
            self.run.is_active(now);
        }
        // What is one whole gives signs without a line break too.
        if any || P::LIFE == ProgramLife::Task {
            self.records.open_tasks.note(now);
        }
        self.heed(heed);
        result
    }

    /// Takes a message that came by another way than the pipes. One that is about nothing that this program has is none.
    pub(super) fn take(&mut self, message: Message) {
        let (now, mut heed) = (Instant::now(), Attention::default());
        heed.take(message, &mut self.records.open_tasks);
        self.run.is_active(now);
        self.records.open_tasks.note(now);
        self.heed(heed);
    }

    fn heed(&mut self, heed: Attention) {
        if heed.ready {
            self.announce();
        }
        heed.ends.into_iter().for_each(|finish| self.run.say(RunChange::Finished(finish)));
    }
}
