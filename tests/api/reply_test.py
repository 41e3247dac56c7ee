#!/usr/bin/env python3
"""Reply links over the whole server: a partner without certificate, cookie or token answers once; nothing else opens by it."""
import os
import re
import shutil
import unittest

from careloop import ROOT, Server, patient

CLINIC = """
return { name = "Clinic", zone = "America/Chicago", plugins = { "living" }, url = "https://clinic.localhost:PORT",
	principals = { ehr = { kind = "client", roles = { "coordinator" }, certificate = "urn:careloop:clinic:client:ehr" } } }
"""
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def setUpModule():
    global server, ana, stranger
    server = Server({})
    server.add_organization("clinic", CLINIC.replace("PORT", str(server.port)))
    shutil.copytree(os.path.join(ROOT, "plugins/examples/living"), os.path.join(server.orgs, "clinic", "living"))
    server.start()
    ana, stranger = server.client("clinic", "ehr"), server.client("clinic", None)


def tearDownModule():
    server.stop()


def question():
    person = ana.create(patient("Sample")).reference
    task = ana.create({"resourceType": "Task", "status": "draft", "intent": "order",
                       "code": {"coding": [{"system": "urn:careloop:workflow", "code": "question"}]},
                       "focus": {"reference": person}, "for": {"reference": person}}).reference
    answer = ana.must(200, "POST", f"/fhir/{task}/$ask")
    return task, re.search(r"/reply/[0-9a-f]{40}$", answer.json["parameter"][0]["valueString"]).group(0)


class Links(unittest.TestCase):
    def test_a_stranger_answers_once(self):
        task, path = question()
        page = stranger.request("GET", path)
        self.assertEqual(page.status, 200, page)
        self.assertTrue(page.headers["content-type"].startswith("text/html"))
        policy = page.headers["content-security-policy"]
        self.assertIn("default-src 'none'", policy)
        self.assertIn("form-action 'self'", policy)
        self.assertNotIn("script", policy)
        self.assertNotIn("set-cookie", page.headers)
        self.assertNotIn("content-disposition", page.headers)
        self.assertEqual(page.headers["referrer-policy"], "no-referrer")
        self.assertEqual(page.headers["cache-control"], "no-store")
        self.assertNotIn(b"Sample", page.body)
        done = stranger.request("POST", path, "event=answer&text=Seen+on+Monday", FORM)
        self.assertEqual(done.status, 200, done)
        self.assertEqual(ana.read(task)["businessStatus"]["coding"][0]["code"], "answered")
        self.assertEqual(stranger.request("POST", path, "event=answer&text=again", FORM).status, 404)
        trace = server.rows("trace " + task.split("/")[1], organization="clinic")
        self.assertIn("reply link", str(trace))
        token = path.rsplit("/", 1)[1]
        self.assertNotIn(token, server.log())

    def test_the_token_opens_nothing_else(self):
        _, path = question()
        token = path.rsplit("/", 1)[1]
        for headers in ({"Authorization": "Bearer " + token}, {"Cookie": "careloop=" + token}):
            self.assertEqual(stranger.request("GET", "/fhir/Patient", headers=headers).status, 401)
        self.assertEqual(stranger.request("GET", path + "/more").status, 404)
        self.assertEqual(stranger.request("DELETE", path).status, 405)

    def test_hostile_input(self):
        task, path = question()
        for body in ("", "&&&", "=x", "event", "event=%", "event=answer&text=%00", "event=answer&text=" + "%ff" * 10,
                     "event=undo&reason=x", "event=answer", "a=1&" * 5000, "event=answer&text=" + "x" * 100000,
                     "event=drop&reason=x", "event=<script>alert(1)</script>"):
            answer = stranger.request("POST", path, body, FORM)
            self.assertIn(answer.status, (413, 422), (body[:40], answer))
            self.assertNotIn(b"<script>alert", answer.body)
        self.assertEqual(ana.read(task)["businessStatus"]["coding"][0]["code"], "asked")
        self.assertEqual(stranger.request("GET", path).status, 200)


if __name__ == "__main__":
    unittest.main()
