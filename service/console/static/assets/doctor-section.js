// The doctor's last report, for those who run the platform: what stands between
// the service and PostgreSQL, what changed, and what is wrong, with what to do.

import { announce, h, minute, plural, setText } from './dom.js';
import { Section, actionButton } from './section.js';

const STATES = { ok: ['ok', 'Healthy'], warn: ['warn', 'Warnings'], fail: ['bad', 'Faults'], unknown: ['unknown', 'Not looked at yet'] };

export class DoctorSection extends Section {
  constructor(app) {
    super(app, {
      id: 'doctor', title: 'Doctor', needs: 'manage_tenants',
      lede: 'What the service found between itself and PostgreSQL when it looked last. It looks at its start, when a connection was lost, and every few minutes while it is in use.',
    });
  }

  build(body) {
    this.state = h('p', { class: 'doctor-state', id: 'doctor-state' });
    this.verdict = h('p', { class: 'doctor-verdict', id: 'doctor-verdict' });
    this.facts = h('dl', { class: 'diff' });
    this.changes = h('div', { class: 'card doctor-card', id: 'doctor-changes', hidden: true });
    this.count = h('span', { class: 'muted count', id: 'doctor-count' });
    this.findings = h('ol', { class: 'card audit', id: 'doctor-findings', hidden: true });
    body.append(h('div', { class: 'toolbar' }, this.count, actionButton('Read again', 'secondary', () => this.again(), { id: 'doctor-again' })),
      h('div', { class: 'card doctor-card' }, this.state, this.verdict, this.facts), this.changes, this.findings);
    this.empty();
  }

  whereFrom() {
    return 'Only roles of the platform tenant can hold it. If yours there do, switch to that tenant.';
  }

  async read(signal) {
    const answer = await this.client.call('GET', '/api/v3/rbac-admin/doctor', { signal });
    return answer.data;
  }

  async again() {
    if (await this.load()) announce(this.verdict.textContent);
  }

  show(report) {
    const [state, words] = STATES[report.status] ?? STATES.unknown;
    this.state.replaceChildren(h('span', { class: 'dot', 'aria-hidden': 'true' }), h('strong', { class: 'lamp-value', text: words }));
    this.state.dataset.state = state;
    setText(this.verdict, report.verdict);
    this.facts.replaceChildren(...[
      ['Pooler', pooler(report.pooler)], ['PostgreSQL', report.server_version], ['Role', report.role], ['Tenant tables', String(report.tenant_tables)],
      ['Not looked at', report.not_looked_at.join(', ')], ['Looked at', report.at ? h('time', { datetime: report.at, title: report.at, text: minute(report.at) }) : ''],
    ].filter(([, value]) => value !== '').map(([name, value]) => h('div', {}, h('dt', { text: name }), h('dd', {}, value))));
    this.changes.hidden = report.changes.length === 0;
    this.changes.replaceChildren(h('h2', {}, 'What changed', report.changed_at ? h('time', { class: 'second', datetime: report.changed_at, title: report.changed_at, text: minute(report.changed_at) }) : null),
      h('dl', { class: 'diff wide' }, ...report.changes.map(({ what, before, after }) => h('div', {}, h('dt', { text: what }),
        h('dd', {}, h('del', { text: before }), h('span', { class: 'arrow', text: ' → ' }), h('ins', { text: after }))))));
    setText(this.count, report.at ? plural(report.findings.length, 'finding') : '');
    this.findings.hidden = report.findings.length === 0;
    this.findings.replaceChildren(...report.findings.map(finding));
  }

  empty() {
    this.state.replaceChildren();
    setText(this.verdict, '');
    setText(this.count, '');
    this.facts.replaceChildren();
    this.changes.replaceChildren();
    this.changes.hidden = true;
    this.findings.replaceChildren();
    this.findings.hidden = true;
  }
}

function pooler({ kind, mode, version }) {
  if (kind === 'none') return 'none';
  return `${kind === 'unknown' ? 'a pooler' : [kind, version].filter(Boolean).join(' ')} in ${mode} mode`;
}

function finding({ code, severity, title, object, detail, consequence, fix, basis }) {
  const lines = [['Detail', detail], ['So', consequence]].filter(([, text]) => text);
  return h('li', { 'data-code': code },
    h('p', { class: 'audit-head' }, h('strong', { class: 'mono', text: code }), h('span', { class: `tag ${severity === 'fail' ? 'fault' : ''}`, text: severity === 'fail' ? 'fault' : 'warning' }),
      h('span', { text: title }), object ? h('span', { class: 'mono', text: object }) : null, h('span', { class: 'muted', text: basis })),
    h('dl', { class: 'diff' }, ...lines.map(([name, text]) => h('div', {}, h('dt', { text: name }), h('dd', { text }))),
      fix ? h('div', {}, h('dt', { text: 'Do' }), h('dd', { class: 'mono', text: fix })) : null));
}
