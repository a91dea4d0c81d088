use super::*;
use std::net::SocketAddr;

use axum::body::Body;
use axum::routing::{get, post};
use futures_util::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use crate::config::{ApiConfig, ApiKey};

#[tokio::test]
async fn it_serves_and_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(serve(listener, ApiState::new(ApiConfig::new(address, "9"), None), shutdown.clone()));
    let mut client = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\n\r\n");
    client.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = vec![0; 15];
    client.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer, b"HTTP/1.1 200 OK");
    shutdown.cancel();
    server.await.expect("no panic").expect("no error");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.expect("the idle connection is closed");
    assert!(String::from_utf8_lossy(&rest).contains("\"version\":\"9\""));
}

#[tokio::test]
async fn a_refusal_before_the_body_is_read_reaches_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let shutdown = CancellationToken::new();
    let state = ApiState::new(ApiConfig::new(address, "9"), None);
    // Nobody leads, so that the request is refused before its body is read.
    let server = tokio::spawn(serve(listener, state, shutdown.clone()));
    let client = TcpStream::connect(address).await.expect("a connection");
    let (mut read, mut write) = client.into_split();
    let head = format!(
        "POST /api/v1/agents/spawn HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: 4\r\nConnection: close\r\n\r\n{{}}\n\n"
    );
    write.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    read.read_to_string(&mut answer).await.expect("an answer and the end");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1\r\n"), "{answer}");
    assert!(answer.contains("\"code\":\"starting\""), "{answer}");
    shutdown.cancel();
    server.await.expect("no panic").expect("no error");
}

#[tokio::test]
async fn a_request_that_hangs_does_not_hold_the_end_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let shutdown = CancellationToken::new();
    let config = ApiConfig { drain: Duration::from_millis(50), ..ApiConfig::new(address, "9") };
    let server = tokio::spawn(serve(listener, ApiState::new(config, None), shutdown.clone()));
    let mut client = TcpStream::connect(address).await.expect("a connection");
    client.write_all(b"GET /health HTTP/1.1\r\nHost: local").await.expect("half a request");
    shutdown.cancel();
    server.await.expect("no panic").expect("ended by the deadline");
}

/// A server of a test, with some routes that take their time.
struct TestServer {
    address: SocketAddr,
    state: Arc<ApiState>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl TestServer {
    async fn start(config: impl FnOnce(ApiConfig) -> ApiConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = ApiState::new(config(ApiConfig::new(address, "9")), None);
        let ticks = || stream::unfold((), |()| async { Some((Ok::<_, io::Error>("tick\n"), sleep(HOUR).await)) });
        let router = crate::router(Arc::clone(&state))
            .merge(Router::new().route("/slow", get(async || sleep(HOUR).await)))
            .merge(Router::new().route("/ticks", get(async move || Body::from_stream(ticks()))))
            .merge(Router::new().route("/unread", post(async || "no")));
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve_router(listener, Arc::clone(&state), router, shutdown.clone()));
        Self { address, state, shutdown, task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    /// A connection on which `path` was asked for.
    async fn ask(&self, path: &str) -> TcpStream {
        let mut client = self.connect().await;
        send(&mut client, &get_of(path)).await;
        client
    }

    async fn end(self) {
        self.shutdown.cancel();
        self.task.await.expect("no panic");
    }
}

const HOUR: Duration = Duration::from_secs(3600);

fn get_of(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

async fn send(client: &mut TcpStream, text: &str) {
    client.write_all(text.as_bytes()).await.expect("sent");
}

/// Reads to the end of the next JSON object.
async fn answer(client: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut bytes = [0; 4096];
    while !text.ends_with('}') {
        let count = client.read(&mut bytes).await.expect("an answer");
        assert!(count > 0, "it ended: {text}");
        text.push_str(std::str::from_utf8(&bytes[..count]).expect("text"));
    }
    text
}

/// How long it takes until the server ends the connection.
async fn ends_after(client: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    let mut rest = Vec::new();
    // A reset is an end too.
    let _ = client.read_to_end(&mut rest).await;
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_never_finished_is_not_waited_for() {
    let server = TestServer::start(|config| config).await;
    let mut client = server.connect().await;
    send(&mut client, "GET /health HTTP/1.1\r\nX: ").await;
    // A byte now and then does not begin the time anew.
    let begun = Instant::now();
    let mut byte = [0];
    while timeout(Duration::from_secs(1), client.read(&mut byte)).await.is_err() {
        let _ = client.write_all(b"y").await;
    }
    let took = begun.elapsed();
    assert!((20..23).contains(&took.as_secs()), "{took:?}");
    server.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_rests_answers_again_and_is_closed_in_the_end() {
    let server = TestServer::start(|config| config).await;
    let mut client = server.ask("/health").await;
    for _ in 0..3 {
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
        sleep(Duration::from_secs(60)).await;
        send(&mut client, &get_of("/health")).await;
    }
    answer(&mut client).await;
    let took = ends_after(&mut client).await;
    assert!((75..78).contains(&took.as_secs()), "{took:?}");
    let took = ends_after(&mut server.connect().await).await;
    assert!((75..78).contains(&took.as_secs()), "one that never says anything: {took:?}");
    assert_eq!(server.state.connections().count(), 0);
    server.end().await;
}

#[tokio::test(start_paused = true)]
async fn half_of_a_next_request_survives_the_rest() {
    let server = TestServer::start(|config| config).await;
    let mut client = server.connect().await;
    let next = get_of("/health");
    let (first, rest) = next.split_at(20);
    send(&mut client, &format!("{next}{first}")).await;
    answer(&mut client).await;
    sleep(Duration::from_secs(10)).await;
    send(&mut client, rest).await;
    assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
    server.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_being_answered_is_not_cut() {
    let server = TestServer::start(|config| config).await;
    let (mut slow, mut ticks) = (server.ask("/slow").await, server.ask("/ticks").await);
    let begun = Instant::now();
    let mut bytes = [0; 1024];
    assert!(slow.read(&mut bytes).await.expect("an answer after an hour") > 0);
    assert!(begun.elapsed() >= HOUR);
    let mut told = String::new();
    while told.matches("tick").count() < 5 {
        let count = ticks.read(&mut bytes).await.expect("a stream");
        assert!(count > 0, "{told}");
        told.push_str(std::str::from_utf8(&bytes[..count]).expect("text"));
    }
    assert!(begun.elapsed() >= HOUR * 3);
    drop(ticks);
    server.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_read_is_no_next_request() {
    let server = TestServer::start(|config| config).await;
    let mut client = server.connect().await;
    send(&mut client, "POST /unread HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n").await;
    send(&mut client, "Content-Length: 500\r\n\r\n{").await;
    sleep(Duration::from_secs(5)).await;
    let _ = client.write_all(get_of("/health").as_bytes()).await;
    let mut text = Vec::new();
    let _ = client.read_to_end(&mut text).await;
    assert_eq!(String::from_utf8_lossy(&text).matches("HTTP/1.1").count(), 1);
    server.end().await;
}

#[tokio::test]
async fn who_sends_more_than_is_read_gets_the_answer() {
    const LONG: usize = 32 * 1024 * 1024;
    let server = TestServer::start(|config| config).await;
    // One that no route is asked for, since nobody leads, and one whose route does not care.
    for (path, expected) in [("/api/v1/tasks/bulk", "HTTP/1.1 503"), ("/unread", "HTTP/1.1 200")] {
        let mut client = server.connect().await;
        let kind = "Content-Type: application/x-ndjson";
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{kind}\r\nContent-Length: {LONG}\r\n\r\n");
        send(&mut client, &head).await;
        client.write_all(&vec![b' '; LONG]).await.expect(path);
        let mut text = String::new();
        client.read_to_string(&mut text).await.expect(path);
        assert!(text.starts_with(expected), "{path}: {text}");
    }
    server.end().await;
}

#[tokio::test(start_paused = true)]
async fn idle_connections_make_room_and_those_with_a_key_last() {
    let keys = vec![ApiKey { name: "ci".to_owned(), sha256: ApiKey::hash("k") }];
    let server = TestServer::start(|config| ApiConfig { connections: 3, keys, ..config }).await;
    let mut known = server.connect().await;
    send(&mut known, "GET /nowhere HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer k\r\n\r\n").await;
    assert!(answer(&mut known).await.starts_with("HTTP/1.1 404"));
    let mut idle = Vec::new();
    for _ in 0..9 {
        idle.push(server.connect().await);
        // Of those that came in the same moment any may be the first to go.
        sleep(Duration::from_secs(1)).await;
    }
    let mut one_more = server.ask("/health").await;
    assert!(answer(&mut one_more).await.starts_with("HTTP/1.1 200"));
    assert_eq!(ends_after(&mut idle[0]).await, Duration::ZERO);
    send(&mut known, &get_of("/health")).await;
    let text = answer(&mut known).await;
    assert!(text.starts_with("HTTP/1.1 200") && !text.contains("refused"), "{text}");
    assert!(server.state.connections().count() <= 3);
    server.end().await;
}

#[tokio::test(start_paused = true)]
async fn where_all_connections_answer_the_next_is_told_so() {
    let server = TestServer::start(|config| ApiConfig { connections: 2, ..config }).await;
    let (_slow, ticks) = (server.ask("/slow").await, server.ask("/ticks").await);
    while server.state.connections().count() < 2 {
        tokio::task::yield_now().await;
    }
    let refused = answer(&mut server.ask("/health").await).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.contains("retry-after: 1\r\n") && refused.contains("too_many_connections"), "{refused}");
    drop(ticks);
    // Its place is free as soon as that is noticed.
    while !answer(&mut server.ask("/health").await).await.starts_with("HTTP/1.1 200") {
        sleep(Duration::from_secs(60)).await;
    }
    sleep(Duration::from_secs(60)).await;
    let served = answer(&mut server.ask("/health").await).await;
    assert!(!served.contains("refused"), "that was a minute ago: {served}");
    server.shutdown.cancel();
}

#[tokio::test(start_paused = true)]
async fn the_memory_of_many_is_given_back() {
    static GIVEN: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let count = || GIVEN.load(std::sync::atomic::Ordering::SeqCst);
    let give_back = || _ = GIVEN.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let server = TestServer::start(|config| ApiConfig { give_back, ..config }).await;
    for _ in 0..MANY {
        let mut client = server.ask("/health").await;
        answer(&mut client).await;
        sleep(SWEEP * 2).await;
    }
    while count() == 0 {
        sleep(SWEEP).await;
    }
    assert_eq!(count(), 1);
    server.end().await;
}
