-- The catalogues as every installation starts with them. The names are those
-- that existing front ends send. The ids are the same in every installation.

-- The catalogues' epoch.
insert into poolproof.epochs (tenant_id) values ('00000000-0000-0000-0000-000000000000');

insert into poolproof.features (id, name, description, default_enabled, seeded) values
    ('2a2f67fd-3ebb-4645-8d48-bf2b5bc7d6c3', 'contentmap', 'Maps the content of a site from its sitemap', false, true),
    ('862bcc06-30c5-46bd-a374-2b2e6c25c02f', 'frontendscout', 'Looks at the pages of a site as a visitor sees them', false, true),
    ('62dd4c91-315f-43dc-ba91-68011f824fa9', 'siteharvest', 'Collects the pages of a whole site', false, true),
    ('f9fedb56-6e81-4c02-ab6e-38eb30432148', 'contactlaunchpad', 'Starts and follows contact campaigns', false, true),
    ('fd7c2d6d-3c85-5d92-9f94-e967c27983b1', 'emailhunter', 'Finds published e-mail addresses', false, true),
    ('4790fea8-fd68-514c-b4b8-daeb6bdd16cc', 'actionqueue', 'Queues follow-up actions', false, true),
    ('d2452db0-2cac-53cd-8603-1a1e98b0d505', 'socialradar', 'Watches social networks', false, true),
    ('315dad71-08b4-5ae9-9eb3-6ef80c1c0e3a', 'localminer', 'Finds local businesses', false, true);

insert into poolproof.permissions (id, name, scope, resource_type, action, description, seeded) values
    ('a388a686-530a-4137-b94f-3aaef5f4d34e', 'view_dashboard', 'tenant', 'dashboard', 'view', 'See the dashboard', true),
    ('ddcf9797-6c9e-54d4-a71e-2019a00f207c', 'manage_users', 'tenant', 'users', 'manage', 'Add and change members, assign and withdraw their roles', true),
    ('64691f7c-a634-5451-961e-d655ce3829ef', 'manage_roles', 'tenant', 'roles', 'manage', 'Create, change and delete roles', true),
    ('d29450c7-07ef-5c32-a62b-faffc63189b9', 'manage_permissions', 'tenant', 'permissions', 'manage', 'Give permissions to roles and take them away', true),
    ('e9a3ed72-d2f7-5555-a000-5e6d25c58265', 'configure_features', 'tenant', 'features', 'configure', 'Switch features on and off for the tenant', true),
    ('07b1c3f5-8d6d-5b27-86ec-b40161eb643c', 'manage_api_keys', 'tenant', 'api_keys', 'manage', 'Create and revoke API keys', true),
    ('32a06b5e-6c63-59cc-b8fd-220cbb9446bf', 'manage_tenants', 'platform', 'tenants', 'manage', 'Manage tenants and catalogues', true),
    ('84ece51d-7133-56ac-8431-57f2965c41e3', 'view_contentmap', 'tenant', 'contentmap', 'view', 'See ContentMap', true),
    ('1d3e35c3-eb46-5b57-94e5-dbac3e44f4ae', 'start_contentmap', 'tenant', 'contentmap', 'start', 'Start work in ContentMap', true),
    ('78f64c54-06cb-5c4b-8bc7-d932c7fd7531', 'view_frontendscout', 'tenant', 'frontendscout', 'view', 'See FrontendScout', true),
    ('fecd9d61-796b-573f-ac31-2eeb3d841ca6', 'start_frontendscout', 'tenant', 'frontendscout', 'start', 'Start work in FrontendScout', true),
    ('4651ff15-08be-550e-9aef-bc9275f936d4', 'view_siteharvest', 'tenant', 'siteharvest', 'view', 'See SiteHarvest', true),
    ('6336cf38-b0a3-51a4-a42a-50639854f297', 'start_siteharvest', 'tenant', 'siteharvest', 'start', 'Start work in SiteHarvest', true),
    ('8e34418d-8487-5a04-adee-4910ab3eef56', 'view_contactlaunchpad', 'tenant', 'contactlaunchpad', 'view', 'See ContactLaunchpad', true),
    ('5598cd5c-73d0-55df-a159-49d2dbb1b8a9', 'start_contactlaunchpad', 'tenant', 'contactlaunchpad', 'start', 'Start work in ContactLaunchpad', true),
    ('73881d48-0cd7-5416-bc13-1ff26517ce26', 'view_emailhunter', 'tenant', 'emailhunter', 'view', 'See EmailHunter', true),
    ('3e56a558-5cd9-5a85-9b6a-de8ad8698a4c', 'start_emailhunter', 'tenant', 'emailhunter', 'start', 'Start work in EmailHunter', true),
    ('f467a56f-0705-5955-8978-8daea5505d52', 'view_actionqueue', 'tenant', 'actionqueue', 'view', 'See ActionQueue', true),
    ('a1a9c9cb-3b9f-5ed3-adc2-56e64ffc4987', 'start_actionqueue', 'tenant', 'actionqueue', 'start', 'Start work in ActionQueue', true),
    ('22677871-6fed-5630-921d-4a018b7f0689', 'view_socialradar', 'tenant', 'socialradar', 'view', 'See SocialRadar', true),
    ('7c748abf-1bc5-508a-bc70-331f1c7428d2', 'start_socialradar', 'tenant', 'socialradar', 'start', 'Start work in SocialRadar', true),
    ('c2315a5c-6997-5087-ab87-3dc0eea2c26f', 'view_localminer', 'tenant', 'localminer', 'view', 'See LocalMiner', true),
    ('635e6251-3bc6-519a-a125-09915fc97941', 'start_localminer', 'tenant', 'localminer', 'start', 'Start work in LocalMiner', true);

insert into poolproof.sidebar_items (id, title, url_path, icon, group_name, display_order, feature_id, permission) values
    ('9f298757-c2da-5009-b279-552c7bafdba6', 'LocalMiner', '/localminer', 'pickaxe', 'Services', 10, '315dad71-08b4-5ae9-9eb3-6ef80c1c0e3a', 'view_localminer'),
    ('918f0560-1677-56d7-84dd-302f74544385', 'ContentMap', '/contentmap', 'map', 'Services', 20, '2a2f67fd-3ebb-4645-8d48-bf2b5bc7d6c3', 'view_contentmap'),
    ('3bbaf14a-9a90-5dfd-bc8c-de11138f856a', 'FrontendScout', '/frontendscout', 'search', 'Services', 30, '862bcc06-30c5-46bd-a374-2b2e6c25c02f', 'view_frontendscout'),
    ('b898fcda-0381-53e9-bbb4-c8ce8bebf5a6', 'SiteHarvest', '/siteharvest', 'package', 'Services', 40, '62dd4c91-315f-43dc-ba91-68011f824fa9', 'view_siteharvest'),
    ('2a9dfec9-3071-5b9c-bcd9-f0e42c8a284b', 'EmailHunter', '/emailhunter', 'mail', 'Services', 50, 'fd7c2d6d-3c85-5d92-9f94-e967c27983b1', 'view_emailhunter'),
    ('4ad69d15-f70f-529a-8264-3ea1f83fc398', 'ActionQueue', '/actionqueue', 'list-checks', 'Services', 60, '4790fea8-fd68-514c-b4b8-daeb6bdd16cc', 'view_actionqueue'),
    ('364731c3-a144-5bc1-8b54-1d369a182393', 'SocialRadar', '/socialradar', 'radar', 'Services', 70, 'd2452db0-2cac-53cd-8603-1a1e98b0d505', 'view_socialradar'),
    ('034dfa89-a7e6-5bf6-a66f-f7f13697b48f', 'ContactLaunchpad', '/contactlaunchpad', 'rocket', 'Services', 80, 'f9fedb56-6e81-4c02-ab6e-38eb30432148', 'view_contactlaunchpad'),
    ('51669751-0f7f-557b-b46f-5c279edf80e1', 'Status', '/status', 'activity', 'Administration', 90, null, null),
    ('7107d857-8fcd-5d5d-b1af-e45264117120', 'Tasks', '/tasks', 'clipboard-list', 'Administration', 100, null, 'manage_users'),
    ('7df12a2c-1375-508c-9e02-79cc447343ad', 'Configuration', '/configuration', 'settings', 'Administration', 110, null, 'manage_tenants'),
    ('e997d8c0-2f6d-583e-8ecd-68bf98bff351', 'Features', '/features', 'toggle-right', 'Administration', 120, null, 'manage_tenants'),
    ('7be903c9-8bf9-53ca-bb62-23d06b1d6bb8', 'Tenants', '/tenants', 'building-2', 'Administration', 130, null, 'manage_tenants'),
    ('be2c6422-73ad-5fa1-892a-690f0fd2dcbc', 'SkyLab', '/skylab', 'flask-conical', 'Administration', 140, null, 'manage_tenants'),
    ('ffcc52ff-b24b-5347-ac59-332bbc84755d', 'Dashboard', '/dashboard', 'layout-dashboard', 'Other', 150, null, null),
    ('e76a6479-d176-51e9-9c21-35824052ecb9', 'Query', '/query', 'terminal', 'Other', 160, null, null),
    ('0aaa2f3b-6750-5279-96eb-46d2f061de04', 'Domains View', '/domains', 'globe', 'Other', 170, null, null);
