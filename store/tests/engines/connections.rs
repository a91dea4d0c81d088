//! PostgreSQL that gives few connections, or hangs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_store::postgres::{PostgresOptions, PostgresStore};
use muster_store::{Store, StoreError};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::conformance::{add_pool, event};
use crate::outages::{lead, options};
use crate::servers::{Postgres, Servers};

/// A database for a role that may have so many connections, and its URL.
async fn database_of_few(servers: &Servers, connections: u32) -> String {
    let url = servers.make_database().await;
    let (_, rest) = url.split_once("@localhost/").expect("a URL of the tests");
    let database = rest.split('?').next().expect("a database");
    let mut person = PgConnection::connect(&url).await.expect("a connection");
    let role = format!("few_{connections}");
    let sql = format!(
        "CREATE ROLE {role} LOGIN CONNECTION LIMIT {connections}; ALTER DATABASE {database} OWNER TO {role}; \
         GRANT ALL ON SCHEMA public TO {role}"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut person).await.expect("a role");
    url.replacen("postgres@", &format!("{role}@"), 1)
}

/// Twenty who write and twenty who read at once are all served by the few connections that there are.
async fn all_are_served(connections: u32) {
    let servers = Servers::shared().await;
    let url = database_of_few(&servers, connections).await;
    let wide = PostgresOptions { max_connections: 10, ..options(&url) };
    let store = Arc::new(PostgresStore::connect(wide).await.expect("a new database"));
    let fence = lead(&store).await;
    let callers: Vec<_> = (0..40)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0..5 {
                    if n % 2 == 0 {
                        let writes = [add_pool(&format!("p-{n}-{round}")), muster_store::Write::Event(event(n))];
                        store.apply(fence, &writes).await.expect("a commit");
                    } else {
                        store.pools().await.expect("a read");
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("all are served");
    }
    assert_eq!(store.pools().await.expect("a read").len(), 100);
    store.close().await;
}

#[tokio::test]
async fn a_role_with_three_connections_serves_all() {
    all_are_served(3).await;
}

#[tokio::test]
async fn a_role_with_one_connection_serves_all() {
    all_are_served(1).await;
}

#[tokio::test]
async fn a_role_without_a_connection_is_named() {
    let servers = Servers::shared().await;
    let url = database_of_few(&servers, 2).await;
    let store = PostgresStore::connect(options(&url)).await.expect("a new database");
    let taken = [
        PgConnection::connect(&url).await.expect("a connection"),
        PgConnection::connect(&url).await.expect("a connection"),
    ];
    let error = store.ping().await.expect_err("there is none left");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    let words = error.to_string();
    assert!(words.contains("too many connections for role") && words.contains("max_connections"), "{words}");
    let begun = Instant::now();
    for _ in 0..10 {
        store.ping().await.expect_err("nor is there now");
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "only the first one waits: {:?}", begun.elapsed());
    for connection in taken {
        connection.close().await.expect("a goodbye");
    }
    lead(&store).await;
    store.close().await;
}

/// A lock is waited for while the role has no connection left: the server answers, so it is not said that it does not, nor is
/// anybody kept from asking it.
#[tokio::test]
async fn a_server_that_gives_no_connection_has_answered() {
    let servers = Servers::shared().await;
    let url = database_of_few(&servers, 4).await;
    let store = PostgresStore::connect(options(&url)).await.expect("a new database");
    let fence = lead(&store).await;
    let others = [
        PgConnection::connect(&url).await.expect("a connection"),
        PgConnection::connect(&url).await.expect("a connection"),
    ];
    let mut person = PgConnection::connect(&url).await.expect("the last but the writer's");
    let mut holding = person.begin().await.expect("a transaction");
    holding.execute("SELECT fence FROM leader FOR UPDATE").await.expect("a lock");
    let error = store.apply(fence, &[add_pool("one")]).await.expect_err("it waits for the lock").to_string();
    assert!(error.contains("no answer within") && error.contains("too many connections for role"), "{error}");
    drop(others);
    holding.rollback().await.expect("the lock is free");
    store.apply(fence, &[add_pool("one")]).await.expect("it is asked at once");
    store.close().await;
}

/// A server that hangs is waited for once, not by each of those in a line, and the store closes all the same.
#[tokio::test]
async fn a_server_that_hangs_is_not_waited_for_by_everybody_in_turn() {
    let server = Postgres::start().await;
    let url = server.make_database().await;
    let store = PostgresStore::connect(options(&url)).await.expect("a new database");
    let fence = lead(&store).await;
    store.apply(fence, &[add_pool("one")]).await.expect("a batch");
    server.hang(true);
    let begun = Instant::now();
    for _ in 0..20 {
        let error = store.apply(fence, &[add_pool("two")]).await.expect_err("it hangs");
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        assert!(store.pools().await.is_err(), "nor does it read");
    }
    assert!(begun.elapsed() < Duration::from_secs(13), "{:?}", begun.elapsed());
    server.hang(false);
    let deadline = Instant::now() + Duration::from_secs(10);
    while store.apply(fence, &[add_pool("two")]).await.is_err() {
        assert!(Instant::now() < deadline, "it is used again");
    }
    server.hang(true);
    let closing = tokio::time::timeout(Duration::from_secs(10), store.close()).await;
    server.hang(false);
    closing.expect("it closes");
}
