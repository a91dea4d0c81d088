//! What a program printed during one attempt, as far as that is certain.
//!
//! A program that stays does the tasks of many tenants, and what it printed for one is never shown to another. So a line
//! belongs to an attempt only if it was printed after the program had the task, and while it had no other one. What was
//! printed earlier and is read later (it waits in a pipe, or its line has no end yet) belongs to nobody, and so does what
//! a program prints while it has several tasks, unless the line names its task.
//!
//! A program has its task when it has read it from its stdin. Nobody tells when it does, so it is looked at: soon after the
//! task was written, and before anything is read of what it printed. One that has not read by then is busy with something
//! else, and what it prints until it is seen to have read is left out. So is, of a program that has done somebody else's
//! tasks, what it printed until the first look: it may have read the task only after it printed that. Where all of its
//! tasks were of one tenant this is shown, since a failure that follows at once has its reason there.

use std::time::Duration;

use tokio::time::Instant;

use super::host::{Extent, Printed};
use super::tail::OutputTail;
use crate::log::LogStream;

/// A program that was not seen to have read its task.
#[derive(Debug)]
struct Untold {
    /// Where the line with the task ends, in bytes from the beginning of its stdin.
    until: u64,
    look_at: Instant,
    /// From one look to the next.
    pause: Duration,
    /// Whether it was seen not to have read it.
    late: bool,
    /// A first look that comes after this moment says too little.
    stale_at: Instant,
}

/// A program that waits for a task has read it by then.
const FIRST_LOOK: Duration = Duration::from_millis(5);
/// What was printed in that time was printed by a program that had just read. A worker that is held up looks later.
const SOON: Duration = Duration::from_millis(500);
/// A program may be busy for long.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Whose tasks a program had before one that it has for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Company {
    /// Those of the same tenant at the most.
    Own,
    /// Those of another one too.
    Others,
    /// It may have another one besides.
    Unknown,
}

/// The tenants whose tasks a program has had.
#[derive(Debug, Default)]
pub(super) enum TenantsSeen {
    #[default]
    None,
    Of(String),
    Several,
}

impl TenantsSeen {
    /// A task of this tenant follows; `None` where it is not known, or does not come alone.
    pub(super) fn add(&mut self, tenant: Option<&str>) -> Company {
        let Some(tenant) = tenant else {
            *self = Self::Several;
            return Company::Unknown;
        };
        match self {
            Self::None => *self = Self::Of(tenant.to_owned()),
            Self::Of(before) if before == tenant => {}
            Self::Of(_) | Self::Several => {
                *self = Self::Several;
                return Company::Others;
            }
        }
        Company::Own
    }
}

/// The last that was printed during an attempt.
#[derive(Debug)]
pub(super) struct Excerpt {
    /// Whether the program has no other task, so that lines that name none are about this one.
    alone: bool,
    /// Whether the program has had tasks of another tenant.
    mixed: bool,
    /// Lines that begin before it are not its own.
    from: Extent,
    untold: Option<Untold>,
    tail: OutputTail,
}

impl Excerpt {
    /// Of an attempt whose task is handed to a program that has printed so much, by a line that ends there in its stdin.
    pub(super) fn new(company: Company, printed: Extent, until: u64, now: Instant) -> Self {
        let untold = Untold { until, look_at: now + FIRST_LOOK, pause: FIRST_LOOK, late: false, stale_at: now + SOON };
        let (alone, mixed) = (company != Company::Unknown, company == Company::Others);
        Self { alone, mixed, from: printed, untold: Some(untold), tail: OutputTail::default() }
    }

    /// Of the one task that a program was started for: all that it prints is about it.
    pub(super) fn of_all() -> Self {
        Self { alone: true, mixed: false, from: Extent::default(), untold: None, tail: OutputTail::default() }
    }

    /// The program has other tasks too, or had some: from now on nobody knows what a line is about that names none.
    pub(super) const fn share(&mut self) {
        self.alone = false;
    }

    /// When to look how far the program has read, where that matters.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.untold.as_ref().filter(|_| self.alone).map(|untold| untold.look_at)
    }

    /// A program that had printed so much has read so much of its stdin since.
    pub(super) fn look(&mut self, printed: Extent, taken: u64, now: Instant) {
        let Some(untold) = &mut self.untold else { return };
        let told = taken >= untold.until;
        if untold.late || !told || self.mixed || now > untold.stale_at {
            // What it printed by now may be about something else.
            self.from = printed;
        }
        if told {
            self.untold = None;
        } else {
            untold.late = true;
            untold.look_at = now + untold.pause;
            untold.pause = untold.pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// A line that names no task.
    pub(super) fn add(&mut self, stream: LogStream, line: Printed<'_>) {
        if self.alone && line.from >= self.from.of(stream) {
            self.tail.add(line.text);
        }
    }

    /// A line that names this task.
    pub(super) fn add_named(&mut self, text: &[u8]) {
        self.tail.add(text);
    }

    /// The last of it.
    pub(super) fn text(&self) -> String {
        self.tail.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, from: u64) -> Printed<'_> {
        Printed { text: text.as_bytes(), cut: 0, from }
    }

    fn excerpt(printed: Extent) -> (Excerpt, Instant) {
        let now = Instant::now();
        (Excerpt::new(Company::Own, printed, 100, now), now)
    }

    #[test]
    fn what_was_printed_before_the_task_was_handed_over_is_not_its_own() {
        let (mut excerpt, now) = excerpt(Extent { out: 10, err: 3 });
        excerpt.look(Extent { out: 30, err: 30 }, 100, now);
        excerpt.add(LogStream::Out, line("in the pipe", 0));
        excerpt.add(LogStream::Out, line("its end was printed later", 9));
        excerpt.add(LogStream::Err, line("err in the pipe", 2));
        assert_eq!(excerpt.text(), "");
        excerpt.add(LogStream::Err, line("its error", 3));
        excerpt.add(LogStream::Out, line("its own", 10));
        assert_eq!(excerpt.text(), "its error\nits own");
    }

    #[test]
    fn what_is_printed_before_the_task_was_seen_to_be_read_is_about_something_else() {
        let (mut excerpt, now) = excerpt(Extent::default());
        excerpt.look(Extent { out: 20, err: 5 }, 99, now);
        excerpt.add(LogStream::Out, line("still busy with the one before", 0));
        // It has read since, and nobody knows whether before or after it printed this.
        excerpt.look(Extent { out: 40, err: 5 }, 100, now);
        excerpt.add(LogStream::Out, line("whose?", 20));
        assert_eq!(excerpt.next_look(), None);
        excerpt.look(Extent { out: 60, err: 5 }, 50, now);
        excerpt.add(LogStream::Out, line("its own", 40));
        assert_eq!(excerpt.text(), "its own");
    }

    #[test]
    fn what_a_program_of_several_tenants_printed_until_it_was_seen_to_have_read_is_not_its_own() {
        let now = Instant::now();
        let mut excerpt = Excerpt::new(Company::Others, Extent::default(), 100, now);
        excerpt.look(Extent { out: 20, err: 5 }, 100, now);
        excerpt.add(LogStream::Out, line("printed before it read, or after", 0));
        excerpt.add(LogStream::Err, line("its own error", 5));
        excerpt.add(LogStream::Out, line("its own", 20));
        assert_eq!(excerpt.text(), "its own error\nits own");
    }

    #[test]
    fn a_first_look_that_comes_late_says_too_little() {
        let (mut excerpt, now) = excerpt(Extent::default());
        excerpt.look(Extent { out: 20, err: 5 }, 100, now + SOON * 2);
        excerpt.add(LogStream::Out, line("of the task before, or its own", 0));
        excerpt.add(LogStream::Out, line("its own", 20));
        assert_eq!(excerpt.text(), "its own");
    }

    #[test]
    fn a_program_remembers_whose_tasks_it_had() {
        let mut past = TenantsSeen::default();
        let companies = [Some("acme"), Some("acme"), Some("globex"), Some("globex"), None, Some("globex")];
        let all = companies.map(|tenant| past.add(tenant));
        let (own, others) = (Company::Own, Company::Others);
        assert_eq!(all, [own, own, others, others, Company::Unknown, others]);
        assert_eq!(
            [TenantsSeen::default().add(None), TenantsSeen::Several.add(Some("acme"))],
            [Company::Unknown, others]
        );
    }

    #[test]
    fn a_busy_program_is_looked_at_less_and_less_often() {
        let (mut excerpt, mut now) = excerpt(Extent::default());
        let mut pauses = Vec::new();
        for _ in 0..11 {
            let next = excerpt.next_look().expect("a look");
            pauses.push((next - now).as_millis());
            now = next;
            excerpt.look(Extent::default(), 0, now);
        }
        assert_eq!(pauses, [5, 5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    }

    #[test]
    fn beside_other_tasks_only_what_names_this_one_is_its_own() {
        let (mut excerpt, now) = excerpt(Extent::default());
        excerpt.add(LogStream::Out, line("alone", 0));
        excerpt.share();
        assert_eq!(excerpt.next_look(), None, "it does not matter");
        excerpt.add(LogStream::Out, line("whose?", 6));
        excerpt.add_named(b"{named}");
        assert_eq!(excerpt.text(), "alone\n{named}");
        let mut shared = Excerpt::new(Company::Unknown, Extent::default(), 100, now);
        shared.add(LogStream::Out, line("whose?", 0));
        assert_eq!(shared.text(), "");
    }
}
