//! The bytes of a body: within its bound, in time, and within the memory that there is for bodies.

use std::time::Duration;

use axum::body::{BodyDataStream, Bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use crate::budget::{BodyClass, BodyMemory, MemoryReservation};
use crate::problem::Problem;
use crate::state::ApiState;

/// A client that does not send its body within this time is told so.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes for which it gets a second more: a large body over a slow line takes longer, and one that comes a byte at a time
/// is no body.
const SLOWEST: u32 = 16 * 1024;
/// What is read and thrown away of a body that is too large, so that the client is still there for the answer: one
/// that writes into a closed connection sees a reset instead of the 413.
const DISCARD: usize = 16 * 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// How large a body may be.
pub(crate) struct BodyLimit {
    /// In bytes.
    pub(crate) bytes: usize,
    /// What to do where it is larger.
    pub(crate) remedy: &'static str,
    /// Where the memory for it comes from.
    pub(crate) share: BodyClass,
}

impl BodyLimit {
    /// The bound of bodies of which nothing else is said.
    pub(super) fn usual(state: &ApiState) -> Self {
        Self { bytes: state.config().max_body, remedy: "send less at once", share: BodyClass::Small }
    }
}

/// A body, and the room in memory that it takes until it is dropped.
pub(crate) struct ReadBody {
    pub(crate) bytes: Bytes,
    pub(crate) room: MemoryReservation,
}

/// The whole body, within the bound.
pub(crate) async fn read(request: Request, bound: &BodyLimit, budget: &BodyMemory) -> Result<ReadBody, Problem> {
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let mut stream = request.into_body().into_data_stream();
    if announced.is_some_and(|announced| announced > bound.bytes as u64) {
        discard(&mut stream, DISCARD).await;
        return Err(too_large(bound));
    }
    // One that does not say how large it is may be as large as any.
    let room = budget.enter(bound.share, announced.map_or(bound.bytes, |announced| announced as usize));
    match collect(&mut stream, bound.bytes, &room).await {
        Ok(bytes) => {
            room.complete();
            Ok(ReadBody { bytes, room })
        }
        Err(broken) => {
            // What was read is gone by now, and others need not wait until the rest has been thrown away.
            drop(room);
            Err(broken.answer(&mut stream, bound).await)
        }
    }
}

/// Why there is no whole body.
enum Broken {
    Ended(axum::Error),
    Slow,
    TooLarge,
    NoRoom(Problem),
}

impl Broken {
    /// What to answer, and to whoever still sends.
    async fn answer(self, rest: &mut BodyDataStream, bound: &BodyLimit) -> Problem {
        match self {
            Self::Ended(error) => {
                Problem::new(StatusCode::BAD_REQUEST, "broken_body", format!("the body ended early: {error}"))
            }
            Self::Slow => Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "slow_body",
                format!(
                    "the body did not come within {} s and a second for every {SLOWEST} bytes",
                    BODY_TIMEOUT.as_secs()
                ),
            ),
            Self::TooLarge => {
                discard(rest, DISCARD).await;
                too_large(bound)
            }
            Self::NoRoom(problem) => {
                discard(rest, bound.bytes).await;
                problem
            }
        }
    }
}

/// The whole body, where it is not larger than `limit`. It takes its room as it comes.
async fn collect(stream: &mut BodyDataStream, limit: usize, room: &MemoryReservation) -> Result<Bytes, Broken> {
    let (mut begun, mut length) = (Instant::now(), 0);
    let (mut first, mut whole) = (Bytes::new(), Vec::new());
    loop {
        let deadline = begun + BODY_TIMEOUT + Duration::from_secs(1) * length as u32 / SLOWEST;
        let chunk = tokio::select! {
            problem = room.gives_way() => return Err(Broken::NoRoom(problem)),
            chunk = timeout_at(deadline, stream.next()) => chunk.map_err(|_| Broken::Slow)?,
        };
        let Some(chunk) = chunk.transpose().map_err(Broken::Ended)? else {
            // Most bodies are one chunk, and need no copy.
            return Ok(if whole.is_empty() { first } else { whole.into() });
        };
        length += chunk.len();
        if length > limit {
            return Err(Broken::TooLarge);
        }
        let asked = Instant::now();
        room.grow(chunk.len()).await.map_err(Broken::NoRoom)?;
        // That it had to wait is not its caller's fault.
        begun += asked.elapsed();
        if whole.is_empty() && first.is_empty() {
            first = chunk;
        } else {
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&chunk);
        }
    }
}

async fn discard(stream: &mut BodyDataStream, most: usize) {
    let drop_it = async {
        let mut length = 0;
        while let Some(Ok(chunk)) = stream.next().await {
            length += chunk.len();
            if length > most {
                return;
            }
        }
    };
    // Whether it came to its end changes nothing: the answer is the same.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, drop_it).await;
}

fn too_large(bound: &BodyLimit) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!("the body is larger than {} bytes: {}", bound.bytes, bound.remedy),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use axum::body::Body;
    use futures_util::stream;

    fn chunks(sizes: &[usize]) -> Body {
        let chunks: Vec<Result<Bytes, std::io::Error>> = sizes.iter().map(|n| Ok(vec![b' '; *n].into())).collect();
        Body::from_stream(stream::iter(chunks))
    }

    const TEN: BodyLimit = BodyLimit { bytes: 10, remedy: "say it in fewer words", share: BodyClass::Small };

    async fn refused(body: Body, bound: &BodyLimit) -> Problem {
        read(Request::new(body), bound, &BodyMemory::default()).await.map(drop).expect_err("refused")
    }

    /// A body of `count` times `size` bytes, with `pause` between them.
    fn slow(count: usize, size: usize, pause: Duration) -> Body {
        Body::from_stream(stream::unfold(0, move |sent| async move {
            tokio::time::sleep(pause).await;
            (sent < count).then(|| (Ok::<_, std::io::Error>(Bytes::from(vec![b' '; size])), sent + 1))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_that_goes_on_is_read_and_one_that_trickles_is_not() {
        let large = BodyLimit { bytes: 64 << 20, remedy: "send less", share: BodyClass::Lines };
        let body = slow(100, 256 * 1024, Duration::from_secs(10));
        let read = read(Request::new(body), &large, &BodyMemory::default()).await;
        assert_eq!(read.map(|body| body.bytes.len()).expect("a thousand seconds of it"), 100 * 256 * 1024);
        assert_eq!(refused(slow(1_000, 1, Duration::from_secs(1)), &large).await.code(), "slow_body");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_has_no_room_is_read_all_the_same() {
        let budget = BodyMemory::default();
        let all = budget.enter(BodyClass::Small, 64 << 20);
        all.grow(64 << 20).await.expect("room");
        all.complete();
        let read_to_its_end = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = Arc::clone(&read_to_its_end);
        let end = stream::iter([&b"{"[..], &b"}"[..]]).then(move |part| {
            seen.store(part == b"}", std::sync::atomic::Ordering::SeqCst);
            async move { Ok::<_, std::io::Error>(Bytes::from_static(part)) }
        });
        let request = Request::new(Body::from_stream(end));
        assert_eq!(read(request, &TEN, &budget).await.map(drop).expect_err("no room").code(), "busy");
        assert!(read_to_its_end.load(std::sync::atomic::Ordering::SeqCst), "or the client would see a reset");
    }

    /// Announces so much, sends a part of it, and then nothing.
    fn stopped(announced: usize, sent: usize) -> Request {
        let part = stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![b' '; sent]))]);
        let body = Body::from_stream(part.chain(stream::pending()));
        Request::builder().header(CONTENT_LENGTH, announced).body(body).expect("a request")
    }

    #[tokio::test(start_paused = true)]
    async fn who_announces_much_and_sends_little_keeps_nobody_out() {
        const LARGE: usize = 64 << 20;
        let large = || BodyLimit { bytes: LARGE, remedy: "send less", share: BodyClass::Lines };
        let budget = Arc::new(BodyMemory::default());
        let slow: Vec<_> = [0, 0, LARGE - 1, LARGE - 1]
            .map(|sent| {
                let budget = Arc::clone(&budget);
                tokio::spawn(async move { read(stopped(LARGE, sent), &large(), &budget).await.map(drop) })
            })
            .into();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let whole = Body::from_stream(stream::iter(
            (0..16).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; LARGE / 16]))),
        ));
        let begun = Instant::now();
        let swift = read(Request::new(whole), &large(), &budget).await.expect("room");
        assert_eq!(swift.bytes.len(), LARGE);
        assert!(begun.elapsed() <= Duration::from_secs(1), "{:?}", begun.elapsed());
        let mut codes = Vec::new();
        for slow in slow {
            codes.push(slow.await.expect("no panic").expect_err("it never ends").code());
        }
        codes.sort_unstable();
        assert_eq!(codes, ["busy", "slow_body", "slow_body", "slow_body"], "one made room");
        drop(swift);
        assert_eq!(budget.free(BodyClass::Lines), 2 * LARGE);
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_the_bound_and_no_further() {
        for (sizes, expected) in [
            (&[][..], Ok(0)),
            (&[10][..], Ok(10)),
            (&[4, 0, 6][..], Ok(10)),
            (&[11][..], Err(413)),
            (&[5, 5, 1][..], Err(413)),
        ] {
            let read = read(Request::new(chunks(sizes)), &TEN, &BodyMemory::default()).await;
            assert_eq!(read.map(|body| body.bytes.len()).map_err(|p| p.status().as_u16()), expected, "{sizes:?}");
        }
    }

    #[tokio::test]
    async fn a_body_that_is_announced_too_large_is_refused() {
        let request = Request::builder().header(CONTENT_LENGTH, "11").body(chunks(&[11])).expect("a request");
        let problem = read(request, &TEN, &BodyMemory::default()).await.map(drop).expect_err("too large");
        assert_eq!(problem.code(), "body_too_large");
        assert_eq!(problem.detail(), "the body is larger than 10 bytes: say it in fewer words");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_not_waited_for() {
        let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(refused(body, &TEN).await.status().as_u16(), 408);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_said_so() {
        let body = Body::from_stream(stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("gone"))]));
        assert_eq!(refused(body, &TEN).await.code(), "broken_body");
    }
}
