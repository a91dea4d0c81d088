//! URLs of databases, in the spellings that people have.

use sqlx::postgres::PgConnectOptions;

use crate::StoreError;

/// Reads a URL. Other libraries put their name into the scheme (`postgresql+psycopg://`); it says nothing about the
/// server, so it is left out.
pub(super) fn parse(url: &str) -> Result<PgConnectOptions, StoreError> {
    // A URL may hold a password, so no message repeats it.
    let invalid = |why: &str| StoreError::InvalidAddress(format!("the database's URL is invalid: {why}"));
    let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid("it has no scheme"))?;
    let family = scheme.split_once('+').map_or(scheme, |(family, _library)| family);
    if !matches!(family, "postgres" | "postgresql") {
        return Err(invalid(&format!("its scheme is {scheme:?}, not postgresql")));
    }
    let options = format!("{family}://{rest}").parse().map_err(|error: sqlx::Error| match error {
        sqlx::Error::Configuration(why) => invalid(&why.to_string()),
        _ => invalid("it does not read as a URL"),
    })?;
    Ok(super::quiet(options))
}

/// Where it is, without user and password.
pub(super) fn describe(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    match options.get_socket() {
        Some(socket) => format!("{}/{database}", socket.display()),
        None => format!("{}:{}/{database}", options.get_host(), options.get_port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_names_the_same_server() {
        for scheme in ["postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2", "postgresql+asyncpg"] {
            let options = parse(&format!("{scheme}://ann:secret@db.example:6432/muster")).expect(scheme);
            assert_eq!(describe(&options), "db.example:6432/muster", "without user and password");
            assert_eq!(options.get_username(), "ann");
        }
        let socket = parse("postgresql://ann@localhost/muster?host=/run/pg").expect("a socket");
        assert_eq!(describe(&socket), "/run/pg/muster");
    }

    #[test]
    fn what_is_no_url_is_refused_without_its_password() {
        for url in ["", "db.example", "mysql://ann:secret@db/muster", "postgresql://ann:secret@db:port/muster"] {
            let error = parse(url).expect_err(url);
            assert!(matches!(error, StoreError::InvalidAddress(_)), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
