"""Redis away, silent, slow, full, forgetful, foreign."""

from __future__ import annotations

import random
import time
from uuid import uuid4

from tests.faults.catalogue import again_and_again, fault
from tests.faults.stage import REDIS, Stage
from workbench.processes import free_port


@fault("Redis refused (killed, started empty)", short=True)
def redis_refused(stage: Stage) -> None:
    stage.open()
    with stage.load():
        stage.redis.kill()
        time.sleep(3)
        stage.redis.start()


@fault("Redis silent", short=True)
def redis_silent(stage: Stage) -> None:
    stage.open()
    with stage.load():
        stage.redis.hang()
        time.sleep(2)
        stage.redis.go_on()


@fault("Redis slow (100 ms each way)")
def redis_slow(stage: Stage) -> None:
    proxy = stage.redis_through_proxy()
    stage.open()
    with stage.load():
        proxy.latency = 0.1
        time.sleep(4)
        proxy.latency = 0


@fault("Redis in slices of 2 bytes, 20 ms apart")
def redis_sliced(stage: Stage) -> None:
    proxy = stage.redis_through_proxy()
    stage.open()
    with stage.load():
        proxy.slices, proxy.pause = 2, 0.02
        time.sleep(4)
        proxy.slices = 0


@fault("Redis connections cut every 200 ms")
def redis_cut(stage: Stage) -> None:
    proxy = stage.redis_through_proxy()
    stage.open()
    with stage.load(), again_and_again(proxy.cut, every=0.2):
        time.sleep(4)


@fault("Redis out of memory (noeviction)")
def redis_out_of_memory(stage: Stage) -> None:
    stage.open()
    with stage.load():
        stage.redis_client.config_set("maxmemory", "1")
        time.sleep(3)
        stage.redis_client.config_set("maxmemory", "0")


@fault("Redis evicting (allkeys-random)")
def redis_evicting(stage: Stage) -> None:
    stage.open()
    before = stage.redis_client.info("stats")["evicted_keys"]
    with stage.load(repeated=0.6):
        stage.redis_client.config_set("maxmemory-policy", "allkeys-random")
        stage.redis_client.config_set("maxmemory", str(stage.redis_client.info("memory")["used_memory"]))
        time.sleep(3)
        stage.redis_client.config_set("maxmemory", "0")
        stage.redis_client.config_set("maxmemory-policy", "noeviction")
    assert stage.redis_client.info("stats")["evicted_keys"] > before


@fault("Redis flushed 20 times a second")
def redis_flushed(stage: Stage) -> None:
    stage.open()
    with stage.load(repeated=0.6), again_and_again(stage.redis.flush, every=0.05):
        time.sleep(3)


@fault("Redis read-only (a replica)")
def redis_read_only(stage: Stage) -> None:
    stage.open()
    with stage.load():
        stage.redis_client.replicaof("127.0.0.1", free_port())
        time.sleep(3)
        stage.redis_client.replicaof("NO", "ONE")


@fault("Redis with garbage at our keys")
def redis_garbage(stage: Stage) -> None:
    spoiled = 0

    def spoil() -> None:
        nonlocal spoiled
        for key in stage.redis_client.scan_iter(
            f"{stage.house.airflow.env['AIRFLOW__INCOMING__REDIS_PREFIX']}:*"
        ):
            stage.redis_client.delete(key)
            if random.random() < 0.5:
                stage.redis_client.lpush(key, "not ours")
            else:
                stage.redis_client.set(key, random.choice(["", "x:y", "\xff", f"{uuid4().hex}:1e400"]))
            spoiled += 1

    stage.open()
    with stage.load(repeated=0.6), again_and_again(spoil, every=0.05):
        time.sleep(3)
    assert spoiled > 20


@fault("Redis with another password")
def redis_password(stage: Stage) -> None:
    redis = stage.redis_client
    redis.acl_setuser("incoming", enabled=True, passwords=["+right"], keys=["*"], categories=["+@all"])
    stage.env[REDIS] = stage.redis.url.replace("redis://", "redis://incoming:right@")
    stage.open()
    with stage.load():
        redis.acl_setuser("incoming", enabled=True, reset_passwords=True, passwords=["+wrong"])
        redis.client_kill_filter(_type="normal", skipme=True)
        time.sleep(3)
        redis.acl_setuser("incoming", enabled=True, reset_passwords=True, passwords=["+right"])
    assert "AuthenticationError" in stage.logs()
