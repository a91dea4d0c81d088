//! The stream of one task: its picture whenever it changes, its progress in between, and an end when it is over. A client
//! that comes back says which version it has seen, so that nothing is kept for it.

use std::convert::Infallible;
use std::future::Future;

use axum::response::sse::Event as Message;
use futures_util::Stream;
use futures_util::stream::unfold;
use muster_supervisor::{ProgressFigures, SupervisorError, TaskFollower, TaskNews};
use tokio_util::sync::CancellationToken;

use crate::routes::events::with_data;

/// Where news of a task come from.
pub(super) trait TaskNewsSource: Send + 'static {
    /// What is new; `None` when the task was over with the last news.
    fn next(&mut self) -> impl Future<Output = Result<Option<TaskNews>, SupervisorError>> + Send;
}

impl TaskNewsSource for TaskFollower {
    async fn next(&mut self) -> Result<Option<TaskNews>, SupervisorError> {
        TaskFollower::next(self).await
    }
}

/// One client's stream.
pub(super) struct TaskFeed<N> {
    news: N,
    end: CancellationToken,
    /// What was read to find out whether there is anything to tell.
    first: Option<TaskNews>,
    /// The version that the client has seen.
    seen: u64,
}

impl<N: TaskNewsSource> TaskFeed<N> {
    /// A stream that leaves out pictures of version `seen` and lower ones. `None` where the client has seen the last one.
    pub(super) async fn begin(
        mut news: N,
        end: CancellationToken,
        seen: Option<u64>,
    ) -> Result<Option<Self>, SupervisorError> {
        let seen = seen.unwrap_or_default();
        let first = news.next().await?;
        let has_all = match &first {
            Some(TaskNews::Changed(view)) => view.version <= seen && view.state.is_final(),
            Some(TaskNews::Progress(_)) => false,
            None => true,
        };
        Ok((!has_all).then_some(Self { news, end, first, seen }))
    }

    /// The messages.
    pub(super) fn stream(self) -> impl Stream<Item = Result<Message, Infallible>> + Send {
        unfold(self, |mut feed| async move {
            let news = feed.next().await?;
            Some((Ok(message(news)), feed))
        })
    }

    /// What to tell next; `None` when the task is over or the server ends. It also ends where the supervisor can't say more
    /// for now: a client comes back for the rest, and is told then what is the matter.
    async fn next(&mut self) -> Option<TaskNews> {
        loop {
            let news = match self.first.take() {
                Some(news) => news,
                None => self.end.run_until_cancelled(self.news.next()).await?.ok()??,
            };
            match &news {
                TaskNews::Changed(view) if view.version <= self.seen => {}
                TaskNews::Changed(view) => {
                    self.seen = view.version;
                    return Some(news);
                }
                TaskNews::Progress(_) => return Some(news),
            }
        }
    }
}

fn message(news: TaskNews) -> Message {
    match news {
        TaskNews::Changed(view) => {
            let message = Message::default().id(view.version.to_string()).event(view.state.as_str());
            with_data(message, &*view)
        }
        TaskNews::Progress(progress) => {
            with_data(Message::default().event("progress"), &ProgressFigures::from(progress))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;
    use axum::response::sse::Sse;
    use muster_domain::{Progress, TaskState};
    use std::collections::VecDeque;

    use crate::routes::tests::task;

    /// News that were written down before; after the last, nothing comes any more, or the supervisor is away.
    struct RecordedNews(VecDeque<TaskNews>, AfterNews);

    enum AfterNews {
        Over,
        Silence,
        Away,
    }

    impl TaskNewsSource for RecordedNews {
        async fn next(&mut self) -> Result<Option<TaskNews>, SupervisorError> {
            match (self.0.pop_front(), &self.1) {
                (Some(news), _) => Ok(Some(news)),
                (None, AfterNews::Over) => Ok(None),
                (None, AfterNews::Silence) => std::future::pending().await,
                (None, AfterNews::Away) => Err(SupervisorError::Stopping),
            }
        }
    }

    fn changed(state: TaskState, version: u64) -> TaskNews {
        TaskNews::Changed(Box::new(task(state, version)))
    }

    fn progress(message: &str) -> TaskNews {
        TaskNews::Progress(Progress { message: message.to_owned(), percent: Some(40.0) })
    }

    async fn feed(news: Vec<TaskNews>, then: AfterNews, seen: Option<u64>) -> Option<TaskFeed<RecordedNews>> {
        TaskFeed::begin(RecordedNews(news.into(), then), CancellationToken::new(), seen).await.expect("news")
    }

    async fn told(mut feed: TaskFeed<RecordedNews>) -> Vec<String> {
        let mut words = Vec::new();
        while let Some(news) = feed.next().await {
            words.push(match news {
                TaskNews::Changed(view) => format!("{} {}", view.version, view.state),
                TaskNews::Progress(progress) => progress.message,
            });
        }
        words
    }

    fn life() -> Vec<TaskNews> {
        vec![
            changed(TaskState::Queued, 1),
            changed(TaskState::Running, 2),
            progress("half"),
            changed(TaskState::Succeeded, 3),
        ]
    }

    #[tokio::test]
    async fn a_life_is_told_to_its_end() {
        let feed = feed(life(), AfterNews::Over, None).await.expect("something to tell");
        assert_eq!(told(feed).await, ["1 queued", "2 running", "half", "3 succeeded"]);
    }

    #[tokio::test]
    async fn what_was_seen_is_not_told_again() {
        let news = vec![changed(TaskState::Running, 2), progress("half"), changed(TaskState::Succeeded, 3)];
        let resumed = feed(news, AfterNews::Over, Some(2)).await.expect("something to tell");
        assert_eq!(told(resumed).await, ["half", "3 succeeded"]);
        let news = vec![changed(TaskState::Running, 2), changed(TaskState::Running, 2), changed(TaskState::Dead, 4)];
        let doubled = feed(news, AfterNews::Over, None).await.expect("something to tell");
        assert_eq!(told(doubled).await, ["2 running", "4 dead"]);
    }

    #[tokio::test]
    async fn who_has_seen_the_end_is_told_so() {
        let end = || vec![changed(TaskState::Succeeded, 3)];
        assert!(feed(end(), AfterNews::Over, Some(3)).await.is_none());
        assert!(feed(end(), AfterNews::Over, Some(2)).await.is_some());
        let waiting = feed(vec![changed(TaskState::Queued, 3)], AfterNews::Over, Some(3)).await;
        assert!(waiting.is_some(), "a task that was sent again is not over");
    }

    #[tokio::test]
    async fn the_stream_ends_with_the_server() {
        let mut feed = feed(vec![changed(TaskState::Queued, 1)], AfterNews::Silence, None).await.expect("a feed");
        assert!(feed.next().await.is_some());
        let end = feed.end.clone();
        let (next, ()) = tokio::join!(feed.next(), async { end.cancel() });
        assert!(next.is_none());
    }

    #[tokio::test]
    async fn where_nobody_can_say_more_the_stream_ends() {
        let feed = feed(vec![changed(TaskState::Queued, 1)], AfterNews::Away, None).await.expect("a feed");
        assert_eq!(told(feed).await, ["1 queued"]);
        let none =
            TaskFeed::begin(RecordedNews(VecDeque::new(), AfterNews::Away), CancellationToken::new(), None).await;
        assert!(none.is_err(), "and one that has not begun is a problem");
    }

    #[tokio::test]
    async fn messages_are_lines() {
        let feed = feed(life(), AfterNews::Over, None).await.expect("something to tell");
        let response = Sse::new(feed.stream()).into_response();
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.expect("a body");
        let text = std::str::from_utf8(&body).expect("text");
        let messages: Vec<Vec<&str>> =
            text.split_terminator("\n\n").map(|message| message.split('\n').collect()).collect();
        assert_eq!(messages.len(), 4, "{text}");
        assert_eq!(messages[0][..2], ["id: 1", "event: queued"]);
        assert_eq!(messages[2], ["event: progress", r#"data: {"message":"half","percent":40.0}"#], "no id");
        assert_eq!((messages[3][0], messages[3][1], messages[3].len()), ("id: 3", "event: succeeded", 3));
        let data = messages[3][2].strip_prefix("data: ").expect("data");
        let json: serde_json::Value = serde_json::from_str(data).expect("JSON");
        assert_eq!((&json["state"], &json["version"]), (&"succeeded".into(), &3.into()));
        // The line break in the input would end the line.
        assert!(!data.contains('\r') && data.contains("{\"b\": 1.50,   \"a\": 12345678901234567890}"), "{data}");
    }
}
