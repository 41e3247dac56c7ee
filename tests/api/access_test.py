#!/usr/bin/env python3
"""Who may come in and what they may do: certificates, trust anchors, organizations, roles; refusals are audited."""
import json
import os
import re
import shutil
import ssl
import tempfile
import time
import unittest

from careloop import Client, Server, client_certificate, patient


def setUpModule():
    global server, ehr, folder, chart, person
    folder = tempfile.mkdtemp(prefix="careloop-access-")
    server = Server(("riverside", "lakeside")).start()
    ehr = server.client("riverside", "ehr")
    person = ehr.create(patient("Charted")).reference
    chart = ehr.create({"resourceType": "Condition", "subject": {"reference": person}, "code": {"text": "Depression"},
                        "clinicalStatus": {"coding": [{
                            "system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]}}).reference


def tearDownModule():
    server.stop()
    shutil.rmtree(folder)


class Credentials(unittest.TestCase):
    def test_without_a_certificate(self):
        answer = server.client("riverside", None).get("/fhir/Patient")
        self.assertEqual(answer.status, 401, answer)
        self.assertEqual(answer.json["issue"][0]["code"], "login")
        self.assertIn("www-authenticate", answer.headers)

    def test_without_a_certificate_nothing_is_created(self):
        answer = server.client("riverside", None).post("/fhir/Patient", patient("Stranger"))
        self.assertEqual(answer.status, 401, answer)
        self.assertEqual(ehr.search("Patient?family=Stranger"), [])

    def test_another_organization_s_certificate(self):
        lakeside = os.path.join(server.certificates, "clients", "lakeside-ehr")
        answer = Client(server, "riverside", lakeside).get("/fhir/" + person)
        self.assertIn(answer.status, (401, 403), answer)
        self.assertNotIn(b"Charted", answer.body)

    def test_a_certificate_of_nobody(self):
        path = client_certificate(folder, "nobody", "urn:careloop:riverside:person:nobody",
                                  os.path.join(server.certificates, "clients-ca.pem"))
        answer = Client(server, "riverside", path).get("/fhir/" + person)
        self.assertEqual(answer.status, 401, answer)

    def test_the_right_name_from_another_authority(self):
        path = client_certificate(folder, "forged", "urn:careloop:riverside:client:ehr")
        try:
            answer = Client(server, "riverside", path).get("/fhir/" + person)
        except (ssl.SSLError, ConnectionError, OSError):
            return  # refused in the handshake
        self.assertEqual(answer.status, 401, answer)

    def test_a_wrong_bearer_token(self):
        answer = server.client("riverside", None).get("/fhir/Patient", Authorization="Bearer wrong-token")
        self.assertEqual(answer.status, 401, answer)

    def test_a_token_of_the_console_works_until_it_is_revoked(self):
        result = server.console("--json", "-e", "token create coordinator 1", organization="riverside")
        self.assertEqual(result.returncode, 0, result.stderr)
        token = re.search(r"[A-Za-z0-9_\-]{24,}", json.loads(result.stdout).get("text", result.stdout)).group()
        anybody = server.client("riverside", None)
        self.assertEqual(anybody.get("/fhir/Patient?_count=1", Authorization="Bearer " + token).status, 200)
        revoked = server.console("--yes", "-e", "token revoke " + token, organization="riverside")
        self.assertEqual(revoked.returncode, 0, revoked.stderr)
        self.assertEqual(anybody.get("/fhir/Patient?_count=1", Authorization="Bearer " + token).status, 401)


class Organizations(unittest.TestCase):
    def test_unknown_organization(self):
        certificate = os.path.join(server.certificates, "clients", "riverside-ehr")
        # The server's certificate does not name it: the client asks for localhost and sends another Host.
        answer = Client(server, "nowhere", certificate, server_name="localhost").get("/fhir/Patient")
        self.assertIn(answer.status, (404, 421), answer)
        self.assertEqual(Client(server, "x", certificate, host="localhost").get("/nowhere/fhir/Patient").status, 404)

    def test_host_name_and_tls_name_must_agree(self):
        certificate = os.path.join(server.certificates, "clients", "riverside-ehr")
        answer = Client(server, "lakeside", certificate, host="lakeside.localhost",
                        server_name="riverside.localhost").get("/fhir/Patient")
        self.assertEqual(answer.status, 421, answer)
        answer = Client(server, "riverside", certificate).get("/lakeside/fhir/Patient")
        self.assertEqual(answer.status, 421, answer)

    def test_another_organization_s_id_is_unknown_here(self):
        lakeside = server.client("lakeside", "ehr")
        answer = lakeside.get("/fhir/" + person)
        self.assertEqual(answer.status, 404, answer)

    def test_health_says_nothing_of_care(self):
        anybody = server.client("riverside", None)
        self.assertEqual(anybody.get("/healthz").json, {"status": "ok"})
        self.assertEqual(anybody.get("/readyz").json["status"], "ready")


class Roles(unittest.TestCase):
    def test_a_coordinator_cannot_delete(self):
        coordinator = server.client("riverside", "coordinator")
        answer = coordinator.delete("/fhir/" + person)
        self.assertEqual(answer.status, 403, answer)
        self.assertEqual(ehr.get("/fhir/" + person).status, 200)

    def test_a_manager_sees_no_charts(self):
        manager = server.client("riverside", "manager")
        self.assertEqual(manager.get("/fhir/" + chart).status, 403)
        self.assertEqual(manager.get("/fhir/Condition").status, 403)
        self.assertEqual(manager.get("/metrics").status, 200)

    def test_a_clinician_sees_the_charts_of_the_care_team_s_patients(self):
        clinician = server.client("riverside", "clinician")
        self.assertEqual(clinician.get("/fhir/" + chart).status, 403)
        self.assertEqual(clinician.search("Condition"), [])
        team = ehr.create({"resourceType": "CareTeam", "status": "active", "subject": {"reference": person},
                           "participant": [{"member": {"reference": "Practitioner/riverside-clinician"}}]})
        self.assertEqual(clinician.read(chart)["code"]["text"], "Depression")
        self.assertEqual(len(clinician.search("Condition")), 1, "the decision and the search agree")
        ehr.must(200, "PUT", "/fhir/" + team.reference, dict(team.json, status="inactive"))
        self.assertEqual(clinician.get("/fhir/" + chart).status, 403)
        self.assertEqual(clinician.search("Condition"), [])

    def test_a_partner_sees_nothing_but_its_tasks(self):
        partner = Client(server, "riverside", os.path.join(server.certificates, "clients", "lakeside-partner"))
        self.assertEqual(partner.get("/fhir/" + person).status, 403)
        self.assertEqual(partner.get("/fhir/Patient").status, 403)
        self.assertEqual(partner.search("Task"), [])
        self.assertEqual(partner.post("/fhir/Patient", patient("Pushed")).status, 403)
        self.assertEqual(ehr.search("Patient?family=Pushed"), [])

    def test_a_body_is_not_read_for_who_may_not_write(self):
        manager = server.client("riverside", "manager")
        answer = manager.request("POST", "/fhir/Patient", "{ this is no JSON")
        self.assertEqual(answer.status, 403, "not 400: nothing of the body was looked at")


class Audit(unittest.TestCase):
    def leaves(self):
        return server.rows("audit 200", "riverside")

    def test_the_refusal_is_in_the_log(self):
        manager = server.client("riverside", "manager")
        self.assertEqual(manager.get("/fhir/" + chart).status, 403)
        self.assertEqual(manager.post("/fhir/Patient", patient()).status, 403)
        time.sleep(0.5)  # leaves of reads are committed within 100 ms
        refused = [leaf for leaf in self.leaves() if leaf["principal"] == "manager" and leaf["outcome"] == "forbidden"]
        self.assertGreaterEqual(len(refused), 2, self.leaves()[:5])

    def test_reads_and_writes_are_in_the_log_with_their_rule(self):
        reference = ehr.create(patient("Audited")).reference
        ehr.read(reference)
        time.sleep(0.5)
        mine = [leaf for leaf in self.leaves() if leaf["target"].startswith(reference)]
        self.assertEqual({leaf["action"] for leaf in mine} & {"create", "read"}, {"create", "read"}, mine)
        self.assertTrue(all(leaf["rule"] for leaf in mine))

    def test_the_log_verifies(self):
        result = server.console("-e", "audit verify", organization="riverside")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("intact", result.stdout)

    def test_why(self):
        result = server.console("-e", f"why manager read {chart}", organization="riverside")
        self.assertEqual(result.returncode, 0, result.stderr)


if __name__ == "__main__":
    unittest.main()
