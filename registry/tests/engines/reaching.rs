//! A Redis that is not the registry: whether it answers, with a password and without.

use muster_registry::redis::{Unreached, reach as ask};

use crate::redis_server::RedisServer;

async fn reach(url: &str) -> Result<(), String> {
    ask(url, None).await.map_err(|Unreached { words, .. }| words)
}

#[tokio::test]
async fn a_server_is_reached_with_the_password_of_the_url() {
    let server = RedisServer::start();
    let url = server.target("").url;
    assert_eq!(reach(&url).await, Ok(()));
    let _: String = server.ask(&["CONFIG", "SET", "requirepass", "s3cret"]).await;
    assert_eq!(reach(&url).await, Err("it answered NOAUTH".to_owned()));
    assert_eq!(reach(&format!("{url}?pass=wr0ng")).await, Err("authentication failed".to_owned()));
    assert_eq!(reach(&format!("{url}?pass=s3cret")).await, Ok(()));
}

#[tokio::test]
async fn what_can_not_be_reached_is_told_without_the_url() {
    let mut server = RedisServer::start();
    server.kill();
    let error = reach(&format!("{}?pass=s3cret", server.target("").url)).await.expect_err("it is gone");
    assert!(error.contains("refused"), "{error}");
    assert_eq!(reach("http://me:s3cret@host").await, Err("its URL is not understood".to_owned()));
}
