import time, gc, statistics, resource, logging
import pytest
from airflow_incoming.core.integration import Configuration
from sqlalchemy.orm import Session
from tests.integration.launch.workbench import make_event, pending
from collections import Counter
import structlog
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING), cache_logger_on_first_use=False)

def batch(session, launcher, conf, cfg, n=32):
    ev=[make_event() for _ in range(n)]
    launcher.prepare(session,[pending(e,cfg) for e in ev])
    for e in ev:
        with session.begin_nested(): launcher.launch(session,e,cfg,conf)

def test_bench(bench, launcher, monkeypatch):
    import airflow.serialization.definitions.dag as d
    monkeypatch.setattr(d,"log",structlog.make_filtering_bound_logger(logging.WARNING)(None,[],{}))
    conf={f"order.field{i}":i for i in range(20)}
    for label,cfg in (("1 task",Configuration(dags=("one_task",))),("10 tasks",Configuration(dags=("ten_tasks",))),("asset",Configuration(assets=("orders",)))):
        times=[]
        for r in range(8):
            with Session(bench.engine,autoflush=False,expire_on_commit=False) as s, s.begin():
                t=time.perf_counter(); batch(s,launcher,conf,cfg); dt=time.perf_counter()-t
            times.append((dt, time.perf_counter()-t)); launcher.announce()
        with bench.statements() as st, Session(bench.engine,autoflush=False,expire_on_commit=False) as s, s.begin():
            batch(s,launcher,conf,cfg)
        print(bench.engine.dialect.name,label,"ms/run %.2f (with commit %.2f)"%(statistics.median(t[0] for t in times)/32*1000, statistics.median(t[1] for t in times)/32*1000),"stmts/run %.2f"%(len(st)/32))
        for k,v in Counter(x.split("(")[0][:95].replace("\n"," ") if not x.startswith("SELECT") else "SELECT "+x[x.find("FROM"):][:60].replace("\n"," ") for x in st).most_common(12): print("    ",v,k)

def test_growth(bench, launcher, monkeypatch):
    if bench.engine.dialect.name!="postgresql": return
    import airflow.serialization.definitions.dag as d
    monkeypatch.setattr(d,"log",structlog.make_filtering_bound_logger(logging.WARNING)(None,[],{}))
    cfg=Configuration(dags=("one_task",)); conf={f"k{i}":"x"*50 for i in range(20)}
    import os
    rss=lambda: int(open("/proc/self/statm").read().split()[1])*4//1024
    for mode in ("one session","expunge_all","new session"):
        gc.collect(); out=[rss()]
        s=Session(bench.engine,autoflush=False,expire_on_commit=False)
        for r in range(60):
            batch(s,launcher,conf,cfg); s.commit()
            if r%20==19: out.append((rss(),len(s.identity_map)))
            if mode=="expunge_all": s.expunge_all()
            if mode=="new session": s.close(); s=Session(bench.engine,autoflush=False,expire_on_commit=False)
        s.close()
        print(mode,out)
