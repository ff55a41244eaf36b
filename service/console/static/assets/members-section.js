// The tenant's members: who they are, which roles they hold and until when,
// and whether they are active.

import { announce, day, h } from './dom.js';
import { FormDialog } from './form-dialog.js';
import { ListSection } from './list-section.js';
import { cell, tableRow } from './list-table.js';
import { MemberRoles } from './member-roles.js';
import { userId } from './person.js';
import { actionButton } from './section.js';

const PROFILES = '/api/v3/profiles';

export class MembersSection extends ListSection {
  constructor(app) {
    super(app, {
      id: 'members', title: 'Members', needs: 'manage_users', lede: 'Who belongs to this tenant, and what they may do in it.',
      noun: 'member', by: 'name, e-mail, id or role', invites: 'Add member',
      columns: [
        { heading: 'Member', kind: 'member' }, { heading: 'Roles', kind: 'roles' }, { heading: 'Active', kind: 'active' }, { heading: 'Actions', kind: 'actions', hidden: true },
      ],
    });
  }

  dialogs() {
    const unauthenticated = this.app.unauthenticated;
    const person = [{ name: 'name', label: 'Name' }, { name: 'email', label: 'E-mail' }];
    this.adding = new FormDialog('member', {
      unauthenticated, codes: { name_taken: 'user_id' },
      fields: [
        { name: 'user_id', label: 'User id, or e-mail of somebody in one of your tenants', mono: true, help: 'Who is new here signs in to this console once: it shows them their user id, to copy and send to you. The identity provider lists it, too, as the user’s id (sub).' },
        { name: 'external_id', label: 'Or the identity provider’s own id', mono: true, help: 'Where its ids are no UUIDs, such as auth0|65f… or a number: as it stands there. The user id is then made of the issuer and this id. Fill in one of the two.' },
        ...person,
      ],
    });
    this.editing = new FormDialog('profile', {
      unauthenticated, codes: { name_taken: 'external_id' },
      fields: [...person, { name: 'external_id', label: 'Identity provider’s own id', mono: true, help: 'Optional; unique in this tenant.' }],
    });
    this.roles = new MemberRoles(this.client, { unauthenticated, changed: () => this.changed() });
  }

  async read(signal) {
    const [profiles, assignments] = await Promise.all([
      this.client.list(PROFILES, { signal }),
      this.client.list('/api/v3/rbac/user-roles', { signal }),
    ]);
    return { profiles, held: Map.groupBy(assignments, (assignment) => assignment.user_id) };
  }

  show({ profiles, held }) {
    this.held = held;
    super.show(profiles.sort((a, b) => nameOf(a).localeCompare(nameOf(b))));
  }

  empty() {
    this.held = new Map();
    super.empty();
  }

  texts(profile) {
    return [profile.name, profile.email, profile.user_id, profile.external_id, ...this.rolesOf(profile).map((a) => a.role_name)];
  }

  rolesOf(profile) {
    return this.held.get(profile.user_id) ?? [];
  }

  row(profile) {
    const name = nameOf(profile);
    const active = h('input', { type: 'checkbox', role: 'switch', 'aria-label': `${name} is active`, 'data-key': `active ${profile.user_id}` });
    active.checked = profile.active;
    active.addEventListener('change', () => this.activate(profile, active));
    const roles = this.rolesOf(profile).map((a) => h('span', { class: 'chip' }, a.role_name,
      a.expires_at ? h('span', { class: 'muted', text: ` until ${day(a.expires_at)}` }) : null));
    return tableRow({ 'data-user-id': profile.user_id, class: profile.active ? null : 'inactive' },
      cell('Member', 'col-member', h('strong', { text: name }), profile.user_id === this.app.me?.user.id ? h('span', { class: 'tag', text: 'you' }) : null,
        profile.email && profile.email !== name ? h('span', { class: 'second', text: profile.email }) : null),
      cell('Roles', 'col-roles', h('div', { class: 'chips' }, ...(roles.length ? roles : [h('span', { class: 'muted', text: 'no role' })]))),
      cell('Active', 'col-active', active),
      cell('', 'col-actions', h('div', { class: 'actions' },
        actionButton('Roles', 'secondary small', () => this.roles.open(profile, name), { 'data-action': 'roles', 'data-key': `roles ${profile.user_id}`, 'aria-label': `Roles of ${name}` }),
        actionButton('Edit', 'quiet small', () => this.edit(profile, name), { 'data-action': 'edit', 'data-key': `edit ${profile.user_id}`, 'aria-label': `Edit ${name}` }))));
  }

  /** activate shows the new state at once, and goes back with the reason if the service refuses. */
  async activate(profile, box) {
    const wanted = box.checked;
    if (box.getAttribute('aria-busy') === 'true') {
      box.checked = !wanted;
      return;
    }
    box.setAttribute('aria-busy', 'true');
    try {
      await this.client.call('PUT', `${PROFILES}/${profile.user_id}`, { body: { active: wanted } });
      profile.active = wanted;
      announce(`${nameOf(profile)} is ${wanted ? 'active' : 'not active any more'}.`);
      this.app.rightsChanged();
    } catch (problem) {
      box.checked = !wanted;
      if (box.isConnected || problem.status === 401) this.fail(problem);
      else announce(`${nameOf(profile)} was not changed. ${problem.title}: ${problem.detail}`);
    } finally {
      box.removeAttribute('aria-busy');
      box.closest('tr')?.classList.toggle('inactive', !profile.active);
    }
  }

  add() {
    this.adding.open({
      title: 'Add member', submit: 'Add member', busy: 'Adding…', values: {},
      save: async ({ user_id: typed, external_id, ...rest }) => {
        const user_id = await userId(this.client, typed, { field: 'user_id', tenants: this.app.me.tenants });
        if (!rest.email && typed.includes('@')) rest.email = typed;
        return this.client.call('POST', PROFILES, { body: { ...rest, ...(user_id ? { user_id } : {}), ...(external_id ? { external_id } : {}) } });
      },
      saved: (answer) => this.saved(`${nameOf(answer.data)} added.`),
    });
  }

  edit(profile, name) {
    const path = `${PROFILES}/${profile.user_id}`;
    this.editing.open({
      title: `Edit ${name}`, submit: 'Save changes', values: profile,
      read: () => this.client.read(path),
      save: (values, etag) => this.client.call('PUT', path, { body: values, ifMatch: etag }),
      saved: (answer) => this.saved(`${nameOf(answer.data)} saved.`),
      extra: { text: 'Remove member…', run: () => this.remove(profile, name) },
    });
  }

  remove(profile, name) {
    this.app.confirm.ask({
      name, title: `Remove ${name}?`, confirm: 'Remove member',
      text: 'Their roles in this tenant end with it. To keep the roles and only lock them out, switch Active off instead.',
      remove: () => this.client.call('DELETE', `${PROFILES}/${profile.user_id}`),
      deleted: () => this.removed(`${name} removed.`),
    });
  }
}

/** nameOf is what a member is called: their name, else their address, else an id. */
export function nameOf(profile) {
  return profile.name || profile.email || profile.external_id || profile.user_id;
}
