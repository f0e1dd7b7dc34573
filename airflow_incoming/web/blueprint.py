"""The same receiver as a Flask blueprint, at ``/pluginsv2/incoming``."""

from __future__ import annotations

from concurrent.futures import TimeoutError as FutureTimeout

import flask

from airflow_incoming.core.errors import Undecided
from airflow_incoming.core.messages import Request
from airflow_incoming.web.ports import ContainerFactory
from airflow_incoming.web.responses import Response, from_error, from_health, from_outcome, from_token
from airflow_incoming.web.routes import find_route, read_api_key

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def create_blueprint(container_factory: ContainerFactory) -> flask.Blueprint:
    """Return the blueprint. Flask-WTF's CSRF protection is lifted for it alone."""
    blueprint = flask.Blueprint("incoming_receiver", __name__, url_prefix="/incoming")

    @blueprint.route("/", defaults={"path": ""}, methods=METHODS, provide_automatic_options=False)
    @blueprint.route("/<path:path>", methods=METHODS, provide_automatic_options=False)
    def respond(path: str) -> flask.Response:
        try:
            return _to_flask(_respond(path, container_factory))
        except Exception as error:
            return _to_flask(from_error(error))

    @blueprint.record_once
    def lift_csrf(state: flask.blueprints.BlueprintSetupState) -> None:
        csrf = state.app.extensions.get("csrf")
        if csrf is not None:
            csrf.exempt(blueprint)

    return blueprint


def _respond(path: str, container_factory: ContainerFactory) -> Response:
    route = find_route(flask.request.method, path)
    container = container_factory()
    container.start()
    if route == "health":
        return from_health(container.health.report())
    request = _from_flask(path)
    if route == "token":
        return from_token(container.token_issuer.issue(read_api_key(request), remote=request.remote))
    try:
        return from_outcome(container.receiver.receive(request).result(container.accept_timeout))
    except FutureTimeout as error:
        raise Undecided() from error


def _from_flask(path: str) -> Request:
    return Request(
        endpoint_id=path.strip("/"),
        body=flask.request.get_data(cache=False),
        headers={name.lower(): value for name, value in flask.request.headers.items()},
        query=flask.request.query_string.decode("latin-1"),
        remote=flask.request.remote_addr,
    )


def _to_flask(response: Response) -> flask.Response:
    answer = flask.Response(response.body, status=response.status)
    for name, value in response.headers.items():
        answer.headers[name] = value
    return answer
