//! Tokens: who may ask for what.
//!
//! Without tokens everybody who can connect may do everything. With tokens a request over TCP must
//! show one; the socket stays governed by its mode, unless the settings say otherwise.

use std::fs;

use anyhow::{Context, bail, ensure};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};
use ring::hmac::{self, HMAC_SHA256, Key, Tag};
use ring::rand::SystemRandom;

use super::author::{Peer, TokenName};
use crate::settings::{Api, Policy, Token};

/// Header in which Consul's clients show their token.
const TOKEN: &str = "x-consul-token";
/// Paths that Consul answers without a token: what load balancers ask.
const OPEN_PATHS: [&str; 2] = ["/v1/status/leader", "/v1/status/peers"];

/// The tokens, without their secrets: only what is needed to know them again.
#[derive(Debug)]
pub struct Gate {
    /// Of this process alone, so that the tags say nothing elsewhere.
    key: Key,
    tokens: Vec<Known>,
    of_socket: bool,
}

#[derive(Debug)]
struct Known {
    name: String,
    tag: Tag,
    policy: Policy,
}

impl Gate {
    /// Reads the tokens that the settings name.
    ///
    /// # Errors
    ///
    /// A secret that is missing, empty, given twice or not readable.
    pub fn open(settings: &Api) -> anyhow::Result<Self> {
        let Ok(key) = Key::generate(HMAC_SHA256, &SystemRandom::new()) else {
            bail!("the system gives no random bytes");
        };
        let known = |(name, token): (&String, &Token)| {
            let secret = secret(token).with_context(|| format!("token {name:?}"))?;
            let tag = hmac::sign(&key, secret.as_bytes());
            anyhow::Ok(Known { name: name.clone(), tag, policy: token.policy })
        };
        let tokens: Vec<Known> = settings.tokens.iter().map(known).collect::<Result<_, _>>()?;
        for (place, token) in tokens.iter().enumerate() {
            let twin = tokens.iter().take(place).find(|o| o.tag.as_ref() == token.tag.as_ref());
            if let Some(twin) = twin {
                bail!("tokens {:?} and {:?} have the same secret", twin.name, token.name);
            }
        }
        ensure!(
            !tokens.is_empty() || !settings.socket_tokens,
            "socket_tokens asks for tokens, and there is none"
        );
        Ok(Self { key, tokens, of_socket: settings.socket_tokens })
    }

    /// The token whose secret is `secret`. Every token is compared to its end, so that the time
    /// tells nothing of them.
    fn find(&self, secret: &str) -> Option<&Known> {
        let is_it =
            |known: &&Known| hmac::verify(&self.key, secret.as_bytes(), known.tag.as_ref()).is_ok();
        self.tokens.iter().filter(is_it).fold(None, |found, known| found.or(Some(known)))
    }

    /// Lets `request` pass, with the name of its token, or says why not in Consul's words.
    pub(super) fn pass(&self, request: &mut Request) -> Result<(), String> {
        if let Some(name) = self.check(request)? {
            request.extensions_mut().insert(TokenName(name));
        }
        Ok(())
    }

    /// The name of the token that a request has shown which may pass.
    fn check(&self, request: &Request) -> Result<Option<String>, String> {
        let shown = shown(request.headers());
        let by_socket = matches!(request.extensions().get(), Some(Peer::Process(_)));
        let free = self.tokens.is_empty() || (by_socket && !self.of_socket);
        let found = shown.and_then(|secret| self.find(secret));
        let name = found.map(|known| known.name.clone());
        if free || OPEN_PATHS.contains(&request.uri().path()) {
            return Ok(name);
        }
        let write = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let right = if write { "agent:write" } else { "agent:read" };
        match (found, shown) {
            (Some(known), _) if write && known.policy == Policy::Read => {
                Err(format!("Permission denied: token {:?} lacks permission '{right}'", known.name))
            }
            (Some(_), _) => Ok(name),
            (None, Some(_)) => Err("Permission denied: ACL not found".to_owned()),
            (None, None) => Err(format!(
                "Permission denied: anonymous token lacks permission '{right}'. The anonymous \
                 token is used implicitly when a request does not specify a token."
            )),
        }
    }
}

/// The secret that a request shows. Never in its path, which ends up in logs.
pub(super) fn shown(headers: &HeaderMap) -> Option<&str> {
    let own = headers.get(TOKEN).and_then(|value| value.to_str().ok());
    let bearer = || {
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, secret) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
    };
    own.filter(|secret| !secret.is_empty()).or_else(bearer)
}

fn secret(token: &Token) -> anyhow::Result<String> {
    let secret = match (&token.secret, &token.secret_file) {
        (Some(secret), None) => secret.clone(),
        (None, Some(path)) => {
            let text = fs::read_to_string(path);
            text.with_context(|| format!("read {}", path.display()))?.trim_end().to_owned()
        }
        (None, None) => bail!("secret or secret_file is required"),
        (Some(_), Some(_)) => bail!("secret and secret_file are one too many"),
    };
    ensure!(!secret.is_empty(), "the secret is empty");
    Ok(secret)
}
