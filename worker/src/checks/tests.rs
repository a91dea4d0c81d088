//! What is said of servers that answer, refuse, hang or are not there.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use muster_domain::{Dependency, Epoch, TaskId, TaskOrder};
use muster_registry::memory::MemoryRegistry;

use super::trust::TlsRoots;
use super::*;

/// Listens on a free port; answers what the first caller says first, and tells that.
fn server(answer: &'static [u8]) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a caller");
        let mut said = vec![0; 4096];
        let length = stream.read(&mut said).expect("its first words");
        // One that has heard enough may be gone by now.
        let _ = stream.write_all(answer);
        String::from_utf8_lossy(&said[..length]).into_owned()
    });
    (port, heard)
}

/// A port on which nobody listens.
fn nobody() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn dependency(url: &str) -> Dependency {
    url.parse().unwrap_or_else(|error| panic!("{url}: {error}"))
}

async fn reach(url: &str) -> Result<(), String> {
    dependency::reach(dependency(url), Arc::new(TlsRoots::Public.into())).await
}

async fn refusal(url: &str) -> String {
    let error = reach(url).await.expect_err(url);
    assert!(!error.contains("s3cret"), "{error}");
    error
}

#[tokio::test]
async fn any_answer_below_500_is_one() {
    for (status, reached) in
        [("200 OK", true), ("302 Found", true), ("401 Unauthorized", true), ("403 Forbidden", true)]
            .into_iter()
            .chain([("404 Not Found", true), ("500 Internal Server Error", false), ("503 Service Unavailable", false)])
    {
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nlocation: http://127.0.0.1:{}/\r\n\r\n", nobody());
        let (port, heard) = server(head.leak().as_bytes());
        let outcome = reach(&format!("http://me:s3cret@127.0.0.1:{port}/s3cret?k=s3cret")).await;
        let expected = format!("127.0.0.1:{port}: it answered {}", &status[..3]);
        assert_eq!(outcome, if reached { Ok(()) } else { Err(expected) }, "{status}");
        let heard = heard.join().expect("a request").to_ascii_lowercase();
        let agent = concat!("user-agent: muster/", env!("CARGO_PKG_VERSION"), "\r\n");
        assert!(heard.starts_with("get /s3cret?k=s3cret http/1.1\r\n") && heard.contains(agent), "{heard}");
    }
}

#[tokio::test]
async fn what_is_no_http_is_told() {
    let (port, _) = server(b"SSH-2.0-s3cret\r\n");
    let error = refusal(&format!("http://127.0.0.1:{port}/")).await;
    assert!(error.starts_with(&format!("127.0.0.1:{port}: ")), "{error}");
    let (port, _) = server(b"HTTP/1.1 200 OK\r\n\r\n");
    let error = refusal(&format!("https://127.0.0.1:{port}/")).await;
    assert!(error.starts_with(&format!("127.0.0.1:{port}: ")), "{error}");
}

#[tokio::test]
async fn where_nobody_listens_is_told_with_host_and_port() {
    for scheme in ["http", "https", "tcp", "redis", "amqp", "amqps"] {
        let place = format!("127.0.0.1:{}", nobody());
        let error = refusal(&format!("{scheme}://me:s3cret@{place}")).await;
        assert!(error.starts_with(&format!("{place}: ")) && error.contains("refused"), "{scheme}: {error}");
    }
}

/// A server over TLS, which a throw-away authority vouches for; answers the first words, or hears none. Returns its port and
/// the authority's certificate.
fn tls_server(answer: &'static [u8]) -> (u16, String) {
    let authority = rcgen::KeyPair::generate().expect("a key");
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = parameters.self_signed(&authority).expect("a certificate").pem();
    let issuer = rcgen::Issuer::new(parameters, authority);
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let own = names.signed_by(&key, &issuer).expect("a certificate");
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], key.into())
        .expect("its own key");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a caller");
        let tls = rustls::ServerConnection::new(Arc::new(config)).expect("a connection");
        let mut stream = rustls::StreamOwned::new(tls, stream);
        // One that does not believe the certificate says nothing.
        if stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {
            stream.write_all(answer).and_then(|()| stream.flush()).expect("sent");
        }
    });
    (port, root)
}

#[tokio::test]
async fn a_server_over_tls_is_reached_where_its_authority_is_believed() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    for (scheme, answer) in [
        ("https", b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n".as_slice()),
        ("amqps", b"\x01\0\0\0\0\x02\x1c\0\x0a\0\x0a"),
        ("rediss", b"+PONG\r\n"),
    ] {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let (port, root) = tls_server(answer);
        std::fs::write(file.path(), root).expect("written");
        let ask = async |port: u16, trust: TlsRoots| {
            dependency::reach(dependency(&format!("{scheme}://localhost:{port}")), Arc::new(trust.into())).await
        };
        assert_eq!(ask(port, TlsRoots::of_file(file.path())).await, Ok(()), "{scheme}");
        // The same file vouches for no other authority's server, nor do the public roots.
        for trust in [TlsRoots::of_file(file.path()), TlsRoots::Public] {
            let (port, _) = tls_server(answer);
            let error = ask(port, trust).await.expect_err(scheme);
            assert!(error.starts_with(&format!("localhost:{port}: ")), "{scheme}: {error}");
            assert!(error.contains("certificate") || error.contains("UnknownIssuer"), "{scheme}: {error}");
        }
        std::fs::write(file.path(), "").expect("written");
        let error = ask(nobody(), TlsRoots::of_file(file.path())).await.expect_err(scheme);
        assert!(error.ends_with(": it has no certificate") && error.contains("SSL_CERT_FILE"), "{scheme}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_is_given_up() {
    // It takes connections and says nothing: nobody accepts them.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let place = listener.local_addr().expect("its address").to_string();
    for scheme in ["http", "redis", "amqp", "amqps"] {
        let error = refusal(&format!("{scheme}://me:s3cret@{place}")).await;
        assert_eq!(error, format!("{place}: no answer within 5 s"), "{scheme}");
    }
}

#[tokio::test]
async fn a_connection_is_enough_for_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let place = listener.local_addr().expect("its address");
    assert_eq!(reach(&format!("tcp://{place}")).await, Ok(()));
    assert_eq!(reach(&format!("tcp://localhost:{}", place.port())).await, Ok(()), "a name is looked up");
}

#[tokio::test]
async fn an_amqp_server_answers_the_header_with_a_frame() {
    let (port, heard) = server(b"\x01\0\0\0\0\x02\x1c\0\x0a\0\x0a");
    assert_eq!(reach(&format!("amqp://me:s3cret@127.0.0.1:{port}/v")).await, Ok(()));
    assert_eq!(heard.join().expect("a header").as_bytes(), b"AMQP\0\0\x09\x01");
    for (answer, expected) in [
        (b"AMQP\0\x01\0\0".as_slice(), "it speaks another version of AMQP than 0-9-1"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(), "it does not speak AMQP"),
        (b"\x01".as_slice(), "failed to fill whole buffer"),
    ] {
        let (port, _) = server(answer);
        assert_eq!(refusal(&format!("amqp://127.0.0.1:{port}")).await, format!("127.0.0.1:{port}: {expected}"));
    }
    let (port, _) = server(b"\x01\0\0\0\0\x02\x1c\0\x0a\0\x0a");
    let error = refusal(&format!("amqps://127.0.0.1:{port}")).await;
    assert!(error.starts_with(&format!("127.0.0.1:{port}: ")), "it does not speak TLS: {error}");
}

#[tokio::test]
async fn a_redis_that_is_none_does_not_repeat_the_password() {
    for answer in
        [b"-s3cret is wrong\r\n".as_slice(), b"*2\r\n$4\r\nAUTH\r\n$6\r\ns3cret\r\n", b"HTTP/1.1 400 s3cret\r\n\r\n"]
    {
        let (port, heard) = server(answer);
        let error = reach(&format!("redis://:s3cret@127.0.0.1:{port}/")).await.expect_err("no Redis");
        assert!(error.starts_with(&format!("127.0.0.1:{port}: ")) && !error.contains("s3cret"), "{error}");
        assert!(heard.join().expect("a command").contains("AUTH"));
    }
}

/// Checks over engines in memory, with a subscription.
async fn checks() -> (Checks, muster_registry::CommandStream) {
    let (engine, worker) = (Arc::new(MemoryRegistry::new()), ProcessId::generate());
    let commands = engine.commands(worker).await.expect("a subscription");
    (Checks::new(engine.clone(), engine, worker), commands)
}

fn start() -> AttemptStart {
    let order = TaskOrder {
        task_id: TaskId::generate(),
        attempt: 1,
        agent_id: AgentId::generate(),
        epoch: Epoch(1),
        input: Payload::trusted("null"),
        timeout: None,
        sole_tenant: Some("acme".to_owned()),
        check: None,
    };
    AttemptStart { order, notes: Arc::new(crate::notes::Notes::new(Instant::now())) }
}

fn order(dependencies: &[(&str, &str)], store: Result<(), String>) -> CheckOrder {
    let named = dependencies.iter().map(|(name, url)| ((*name).to_owned(), dependency(url)));
    CheckOrder { store: Reach::new(Duration::from_millis(3), store), dependencies: named.collect() }
}

async fn found(checks: &mut Checks) -> Connectivity {
    let Finished::Done(output) = checks.next_outcome().await.end else { panic!("an answer") };
    serde_json::from_str(output.as_str()).expect("what was found")
}

#[tokio::test]
async fn everything_is_told_by_its_name() {
    let (mut checks, commands) = checks().await;
    checks.begin(&start(), order(&[], Ok(())), None);
    let well = found(&mut checks).await;
    assert_eq!(well.connectivity.keys().collect::<Vec<_>>(), [COMMAND_PATH, REGISTRY, STORE]);
    assert!(well.success && well.skipped, "{well:?}");
    assert_eq!(well.connectivity[STORE].ms, 3.0);

    checks.begin(
        &start(),
        order(&[("db", &format!("tcp://127.0.0.1:{}", nobody()))], Err("it is away".to_owned())),
        None,
    );
    let ill = found(&mut checks).await;
    let missed: Vec<&str> = ill.connectivity.iter().filter(|(_, reach)| !reach.ok).map(|(name, _)| &**name).collect();
    assert_eq!((missed, ill.success), (vec!["db", STORE], false));
    assert_eq!(ill.connectivity[STORE].error.as_deref(), Some("it is away"));

    drop(commands);
    checks.begin(&start(), order(&[], Ok(())), None);
    assert!(!found(&mut checks).await.connectivity[COMMAND_PATH].ok, "nobody receives commands any more");
}

#[tokio::test(start_paused = true)]
async fn all_are_tried_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("redis://{}", listener.local_addr().expect("its address"));
    let (mut checks, _commands) = checks().await;
    let begun = Instant::now();
    checks.begin(&start(), order(&[("a", &url), ("b", &url), ("c", &url)], Ok(())), None);
    let found = found(&mut checks).await;
    assert!(begun.elapsed() < LIMIT * 2, "{:?}", begun.elapsed());
    assert_eq!(found.connectivity.values().filter(|reach| reach.ms >= 5_000.0 && !reach.ok).count(), 3, "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_checks_waits_for_its_turn() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("redis://{}", listener.local_addr().expect("its address"));
    let (mut checks, _commands) = checks().await;
    let begun = Instant::now();
    for _ in 0..=AT_ONCE {
        checks.begin(&start(), order(&[("it", &url)], Ok(())), None);
    }
    let mut outcome = Vec::new();
    for _ in 0..=AT_ONCE {
        found(&mut checks).await;
        outcome.push(begun.elapsed().as_secs());
    }
    assert_eq!(outcome, [vec![5; AT_ONCE], vec![10]].concat());
}

#[tokio::test]
async fn a_check_is_stopped_alone_or_with_its_agent() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("amqp://{}", listener.local_addr().expect("its address"));
    let (mut checks, _commands) = checks().await;
    let [first, second] = [start(), start()];
    checks.begin(&first, order(&[("a", &url)], Ok(())), None);
    checks.begin(&second, order(&[("a", &url)], Ok(())), None);
    assert!(!checks.halt(AttemptId { attempt: 2, ..first.id() }), "another attempt");
    assert!(checks.halt(first.id()));
    let over = checks.next_outcome().await;
    assert!(over.id == first.id() && matches!(over.end, Finished::Stopped), "{over:?}");
    checks.drop_of(second.order.agent_id);
    let over = checks.next_outcome().await;
    assert!(over.id == second.id() && matches!(over.end, Finished::Stopped), "{over:?}");
    assert!(checks.flights.is_empty());
}
