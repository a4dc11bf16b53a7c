"""A small OpenID Connect provider in a process of its own, built with Authlib's server side.

``python -m tests.support.oidc_provider REDIRECT_URI`` prints its port. Whoever the header ``X-Person`` names is
signed in there; ``POST /spoil/HOW`` makes the identity token wrong in one way, and ``POST /claims`` sets claims of the
next identity tokens ("left out" leaves one out).
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import grants
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import UserInfo
from authlib.oidc.core.grants import OpenIDCode
from flask import Flask, Response, jsonify, request
from joserfc.jwk import RSAKey
from werkzeug.serving import make_server

CLIENT_ID, CLIENT_SECRET = "lungnode", "a secret of the test"
PEOPLE = {"ann": ["clinic-radiologists"], "olga": ["clinic-it", "canteen"], "bob": ["canteen"], "eve": None}
KEY, OTHER_KEY = RSAKey.generate_key(2048, {"kid": "one"}), RSAKey.generate_key(2048, {"kid": "one"})
spoil = {"how": ""}
claims: dict[str, Any] = {}


@dataclass
class Client:
    """The only client."""

    redirect_uri: str

    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_default_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri == self.redirect_uri

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == CLIENT_SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in ("client_secret_basic", "client_secret_post")

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


@dataclass
class Code:
    """An authorization code that was given out."""

    code: str
    user: str
    redirect_uri: str
    scope: str
    nonce: str | None
    code_challenge: str | None
    code_challenge_method: str | None
    auth_time: int = field(default_factory=lambda: int(time.time()))

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str | None:
        return "another" if spoil["how"] == "nonce" else self.nonce

    def get_auth_time(self) -> int:
        return self.auth_time

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None

    def is_expired(self) -> bool:
        return False


codes: dict[str, Code] = {}


class CodeGrant(grants.AuthorizationCodeGrant):
    """Codes are kept in memory and used once."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")

    def save_authorization_code(self, code: str, request: Any) -> None:
        data = request.payload.data
        codes[code] = Code(
            code, request.user, request.payload.redirect_uri, request.payload.scope, data.get("nonce"),
            data.get("code_challenge"), data.get("code_challenge_method"),
        )  # fmt: skip

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        return codes.get(code)

    def delete_authorization_code(self, authorization_code: Code) -> None:
        codes.pop(authorization_code.code)

    def authenticate_user(self, authorization_code: Code) -> str:
        return authorization_code.user


class IdToken(OpenIDCode):
    """Signs with RS256."""

    def exists_nonce(self, nonce: str, request: Any) -> bool:
        return any(code.nonce == nonce for code in codes.values())

    def resolve_client_private_key(self, client: Client) -> RSAKey:
        return OTHER_KEY if spoil["how"] == "key" else KEY

    def get_client_algorithm(self, client: Client) -> str:
        return "RS256"

    def get_client_claims(self, client: Client) -> dict[str, Any]:
        now = int(time.time())
        expires = now - 4000 if spoil["how"] == "expired" else now + 600
        audience = "somebody else" if spoil["how"] == "audience" else CLIENT_ID
        issuer = "https://elsewhere.example.org" if spoil["how"] == "issuer" else request.host_url.rstrip("/")
        return {"iss": issuer, "aud": [audience], "iat": now, "exp": expires}

    def generate_user_info(self, user: str, scope: str) -> UserInfo:
        groups = PEOPLE[user]
        info: dict[str, object] = {"sub": f"id-of-{user}", "preferred_username": user}
        if groups is not None:
            info["groups"] = groups
        return UserInfo({name: value for name, value in {**info, **claims}.items() if value != "left out"})


def make_provider(redirect_uri: str) -> Flask:
    app = Flask(__name__)
    client = Client(redirect_uri)
    server = AuthorizationServer(
        app,
        query_client=lambda client_id: client if client_id == CLIENT_ID else None,
        save_token=lambda token, request: None,
    )
    server.register_grant(CodeGrant, [IdToken(require_nonce=True), CodeChallenge(required=True)])

    @app.get("/.well-known/openid-configuration")
    def metadata() -> Response:
        own = request.host_url.rstrip("/")
        return jsonify(
            issuer=own,
            authorization_endpoint=f"{own}/authorize",
            token_endpoint=f"{own}/token",
            jwks_uri=f"{own}/keys",
            response_types_supported=["code"],
            subject_types_supported=["public"],
            id_token_signing_alg_values_supported=["RS256"],
        )

    @app.get("/authorize")
    def authorize() -> Response:
        person = request.headers.get("X-Person", "ann")
        return server.create_authorization_response(grant_user=person, grant=server.get_consent_grant(end_user=person))

    @app.post("/token")
    def token() -> Response:
        return server.create_token_response()

    @app.get("/keys")
    def keys() -> Response:
        return jsonify(keys=[KEY.as_dict(private=False)])

    @app.post("/spoil/<how>")
    def spoil_next(how: str) -> Response:
        spoil["how"] = "" if how == "nothing" else how
        return jsonify(spoil)

    @app.post("/claims")
    def set_claims() -> Response:
        claims.clear()
        claims.update(request.get_json())
        return jsonify(claims)

    return app


def main(redirect_uri: str) -> None:
    served = make_server("127.0.0.1", 0, make_provider(redirect_uri), threaded=True)
    print(json.dumps({"port": served.server_port}), flush=True)
    served.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
