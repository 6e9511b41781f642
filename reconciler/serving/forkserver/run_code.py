"""The functions that a process runs as it becomes an app and answers, of Python, gunicorn and reconciler, by module.

They are what such a process was found to have written in, and say no more than which code to put together first: a name
that is none, or none any more, does nothing. It is read by every CPython from 3.8 on.
"""

RUN = {
    "__main__": (
        "_Environment._which _Environment.add_packages _Environment.differs _await_permission _born _compute "
        "_describe _fork _main_of _order _serve _show _take_on"
    ),
    "_frozen_importlib": (
        "ModuleSpec.cached ModuleSpec.parent _BlockingOnManager.__exit__ _ModuleLock.__init__ _ModuleLock.acquire "
        "_ModuleLock.release _ModuleLockManager.__enter__ _ModuleLockManager.__exit__ "
        "_WeakValueDictionary.__init__ _WeakValueDictionary.__init__.<locals>.KeyedRef.__init__ "
        "_WeakValueDictionary.__init__.<locals>.KeyedRef.__new__ "
        "_WeakValueDictionary.__init__.<locals>.KeyedRef.remove _find_and_load _find_and_load_unlocked _find_spec "
        "_gcd_import _get_module_lock _init_module_attrs _load_unlocked _new_module _sanity_check "
        "module_from_spec"
    ),
    "_frozen_importlib_external": (
        "FileFinder.__init__ FileFinder._fill_cache FileFinder._get_spec FileFinder.find_spec "
        "FileFinder.path_hook.<locals>.path_hook_for_FileFinder PathFinder._get_spec PathFinder._path_hooks "
        "PathFinder._path_importer_cache PathFinder.find_spec SourceFileLoader._cache_bytecode "
        "SourceFileLoader.set_data SourceLoader.get_code SourceLoader.source_to_code _LoaderBasics.exec_module "
        "_calc_mode _classify_pyc _code_to_timestamp_pyc _get_cached _pack_uint32 _path_is_mode_type _path_isdir "
        "_path_isfile _path_split _unpack_uint32 _validate_timestamp_pyc cache_from_source "
        "spec_from_file_location"
    ),
    "_weakrefset": (
        "WeakSet.__iter__ WeakSet._commit_removals WeakSet.add _IterationGuard.__enter__ _IterationGuard.__exit__ "
        "_IterationGuard.__init__"
    ),
    "abc": "ABCMeta.__instancecheck__",
    "argparse": (
        "ArgumentParser.__init__ ArgumentParser.__init__.<locals>.identity ArgumentParser._check_value "
        "ArgumentParser._get_nargs_pattern ArgumentParser._get_positional_actions ArgumentParser._get_value "
        "ArgumentParser._get_values ArgumentParser._match_argument ArgumentParser._match_arguments_partial "
        "ArgumentParser._parse_known_args ArgumentParser._parse_optional ArgumentParser.parse_args "
        "ArgumentParser.parse_known_args Namespace.__init__ _StoreAction.__call__"
    ),
    "codecs": "BufferedIncrementalDecoder.__init__ BufferedIncrementalDecoder.decode IncrementalEncoder.setstate",
    "collections.abc": (
        "Collection.__subclasshook__ KeysView.__iter__ Mapping.__contains__ Mapping.get Mapping.keys "
        "MappingView.__init__ MutableMapping.clear MutableMapping.pop MutableMapping.popitem _check_methods"
    ),
    "concurrent.futures": "__getattr__",
    "concurrent.futures._base": (
        "Future.__get_result Future.__init__ Future._invoke_callbacks Future.add_done_callback Future.cancelled "
        "Future.result Future.set_result Future.set_running_or_notify_cancel"
    ),
    "copy": "_reconstruct copy",
    "copyreg": "__newobj__",
    "ctypes": "CDLL.__getattr__ CDLL.__getitem__",
    "email.utils": "_format_timetuple_and_zone format_datetime formatdate",
    "enum": "Enum.__new__ EnumType.__call__ Flag.__and__ Flag._get_value",
    "functools": "_unwrap_partial _unwrap_partialmethod",
    "genericpath": "_splitext exists isdir",
    "gunicorn.app.base": (
        "Application.chdir Application.load_config Application.load_config_from_file "
        "Application.load_config_from_module_name_or_filename Application.run BaseApplication.__init__ "
        "BaseApplication.do_load_config BaseApplication.load_default_config BaseApplication.run "
        "BaseApplication.wsgi"
    ),
    "gunicorn.app.wsgiapp": (
        "WSGIApplication.init WSGIApplication.load WSGIApplication.load_config WSGIApplication.load_wsgiapp run"
    ),
    "gunicorn.arbiter": (
        "Arbiter.__init__ Arbiter._get_num_workers Arbiter._set_num_workers Arbiter._start_control_server "
        "Arbiter.init_signals Arbiter.manage_dirty_arbiter Arbiter.manage_workers Arbiter.maybe_promote_master "
        "Arbiter.murder_workers Arbiter.run Arbiter.setup Arbiter.spawn_worker Arbiter.spawn_workers "
        "Arbiter.start Arbiter.wait_for_signals"
    ),
    "gunicorn.config": (
        "ChildExit.child_exit Config.__getattr__ Config.__init__ Config.__setattr__ Config.address Config.env "
        "Config.forwarded_allow_networks Config.get_cmd_args_from_env Config.gid Config.is_ssl "
        "Config.logger_class Config.proc_name Config.reuse_port Config.set Config.uid Config.validate "
        "Config.worker_class Config.worker_class_str DirtyPostFork.dirty_post_fork "
        "DirtyWorkerExit.dirty_worker_exit DirtyWorkerInit.dirty_worker_init NewSSLContext.ssl_context "
        "NumWorkersChanged.nworkers_changed OnDirtyStarting.on_dirty_starting OnExit.on_exit OnReload.on_reload "
        "OnStarting.on_starting PostRequest.post_request PostWorkerInit.post_worker_init Postfork.post_fork "
        "PreExec.pre_exec PreRequest.pre_request Prefork.pre_fork Setting.__init__ Setting.__lt__ Setting.copy "
        "Setting.get Setting.set WhenReady.when_ready WorkerAbort.worker_abort WorkerExit.worker_exit "
        "WorkerInt.worker_int _get_default_control_socket make_settings validate_asgi_lifespan validate_asgi_loop "
        "validate_bool validate_callable validate_callable.<locals>._validate_callable validate_chdir "
        "validate_class validate_dict validate_group validate_header_map_behaviour validate_http2_cleartext "
        "validate_http2_frame_size validate_http2_stream_limit validate_http2_window_size validate_http_parser "
        "validate_http_protocols validate_list_of_files_or_patterns validate_list_string validate_pos_int "
        "validate_post_request validate_proxy_protocol validate_reload_engine validate_ssl_version "
        "validate_string validate_string_to_addr_list validate_string_to_list validate_user"
    ),
    "gunicorn.glogging": (
        "Logger.__init__ Logger._compute_access_log_enabled Logger._get_gunicorn_handler Logger._get_user "
        "Logger._set_handler Logger.access Logger.access_log_enabled Logger.atoms Logger.close_on_exec "
        "Logger.debug Logger.info Logger.now Logger.setup SafeAtoms.__getitem__ SafeAtoms.__init__ loggers"
    ),
    "gunicorn.http": "get_parser",
    "gunicorn.http.body": (
        "Body.__init__ Body._read_reader Body.getsize Body.read EOFReader.__init__ LengthReader.__init__ "
        "LengthReader.read"
    ),
    "gunicorn.http.message": (
        "HeaderPolicy._apply_header_policy HeaderPolicy._peer_is_trusted_proxy "
        "HeaderPolicy._peer_trusted_for_forwarded Message.__init__ Message.parse_headers Message.set_body_reader "
        "Message.should_close Request.__init__ Request._parse_python Request.parse Request.parse_request_line "
        "Request.read_into Request.read_line Request.set_body_reader _check_fast_parser _ip_in_allow_list"
    ),
    "gunicorn.http.parser": "Parser.__init__ Parser.__next__ Parser.finish_body",
    "gunicorn.http.unreader": (
        "SocketUnreader.__init__ SocketUnreader.chunk Unreader.__init__ Unreader.read Unreader.unread"
    ),
    "gunicorn.http.wsgi": (
        "Response.__init__ Response._emit_body Response._response_omits_body Response.close "
        "Response.default_headers Response.force_close Response.is_chunked Response.process_headers "
        "Response.send_headers Response.should_close Response.start_response Response.write "
        "WSGIErrorsWrapper.__init__ _make_early_hints_callback base_environ create default_environ proxy_environ"
    ),
    "gunicorn.http2.negotiation": "prior_knowledge_allowed upgrade_allowed",
    "gunicorn.sock": (
        "BaseSocket.__getattr__ BaseSocket.__init__ BaseSocket._is_listening BaseSocket.set_options "
        "TCPSocket.__str__ TCPSocket.set_options _sock_type create_sockets"
    ),
    "gunicorn.systemd": "listen_fds sd_notify",
    "gunicorn.util": (
        "_setproctitle bytes_to_str check_is_writable close_graceful close_on_exec get_arity get_username getcwd "
        "http_date import_app is_hoppish is_ipv6 load_class parse_address seed set_non_blocking set_owner_process "
        "split_request_uri to_bytestring unlink unquote_to_wsgi_str write"
    ),
    "gunicorn.workers.base": "Worker.__init__ Worker.init_process Worker.init_signals Worker.load_wsgi Worker.notify",
    "gunicorn.workers.gthread": (
        "PollableMethodQueue.__init__ PollableMethodQueue.defer PollableMethodQueue.fileno "
        "PollableMethodQueue.init PollableMethodQueue.run_callbacks TConn.__init__ TConn.close TConn.init "
        "TConn.set_timeout TConn.wait_for_data ThreadWorker.__init__ ThreadWorker._keepalive_after "
        "ThreadWorker.accept ThreadWorker.check_config ThreadWorker.enqueue_req ThreadWorker.finish_request "
        "ThreadWorker.get_thread_pool ThreadWorker.handle ThreadWorker.handle_request ThreadWorker.init_process "
        "ThreadWorker.is_parent_alive ThreadWorker.murder_keepalived ThreadWorker.murder_pending "
        "ThreadWorker.on_client_socket_readable ThreadWorker.run ThreadWorker.set_accept_enabled "
        "ThreadWorker.wait_for_and_dispatch_events"
    ),
    "gunicorn.workers.sync": (
        "SyncWorker.accept SyncWorker.handle SyncWorker.handle_request SyncWorker.is_parent_alive SyncWorker.run "
        "SyncWorker.run_for_one SyncWorker.wait"
    ),
    "gunicorn.workers.workertmp": "WorkerTmp.__init__ WorkerTmp.fileno WorkerTmp.last_update WorkerTmp.notify",
    "importlib": "import_module",
    "inspect": (
        "BoundArguments.__init__ Parameter.__init__ Signature.__init__ Signature._bind Signature.bind "
        "_has_code_flag _has_coroutine_mark _signature_from_callable _signature_from_function "
        "_signature_is_functionlike get_annotations iscoroutinefunction isfunction ismethod signature unwrap"
    ),
    "ipaddress": (
        "IPv4Address.__init__ IPv4Network.__init__ IPv6Address.__init__ IPv6Network.__init__ _BaseAddress.__int__ "
        "_BaseNetwork.__contains__ _BaseV4._ip_int_from_string _BaseV4._make_netmask _BaseV4._parse_octet "
        "_BaseV6._ip_int_from_string _BaseV6._make_netmask _BaseV6._parse_hextet "
        "_IPAddressBase._split_addr_prefix _split_optional_netmask ip_address ip_network"
    ),
    "logging": (
        "<lambda> FileHandler.__init__ FileHandler._open FileHandler.emit Filterer.__init__ Filterer.filter "
        "Formatter.__init__ Formatter.format Formatter.formatMessage Formatter.formatTime Formatter.usesTime "
        "Handler.__init__ Handler._at_fork_reinit Handler.acquire Handler.createLock Handler.format "
        "Handler.handle Handler.release Handler.setFormatter LogRecord.__init__ LogRecord.getMessage "
        "Logger.__init__ Logger._log Logger.addHandler Logger.callHandlers Logger.debug Logger.findCaller "
        "Logger.getEffectiveLevel Logger.handle Logger.info Logger.isEnabledFor Logger.makeRecord Logger.setLevel "
        "Manager._clear_cache Manager._fixupChildren Manager._fixupParents Manager.disable Manager.getLogger "
        "PercentStyle.__init__ PercentStyle._format PercentStyle.format PercentStyle.usesTime "
        "PercentStyle.validate PlaceHolder.append StreamHandler.__init__ StreamHandler.emit StreamHandler.flush "
        "_addHandlerRef _afterFork _after_at_fork_child_reinit_locks _checkLevel _is_internal_frame _prepareFork "
        "_register_at_fork_reinit_lock getLevelName getLogger"
    ),
    "os": (
        "PathLike.__subclasshook__ _Environ.__delitem__ _Environ.__getitem__ _Environ.__iter__ "
        "_Environ.__setitem__ _Environ.copy _check_bytes _fscodec.<locals>.fsdecode _fscodec.<locals>.fsencode "
        "fdopen"
    ),
    "posixpath": "_get_sep abspath basename dirname expanduser join splitext",
    "random": "Random.__init__ Random.choices Random.seed",
    "re": "_compile match",
    "re._compiler": (
        "_code _combine_flags _compile _compile_charset _compile_info _generate_overlap_table _get_iscased "
        "_get_literal_prefix _optimize_charset _simple compile"
    ),
    "re._parser": (
        "State.closegroup State.opengroup SubPattern.__getitem__ SubPattern.__init__ SubPattern.__setitem__ "
        "SubPattern.getwidth Tokenizer.__init__ Tokenizer.__next Tokenizer.get Tokenizer.match Tokenizer.tell "
        "_parse _parse_sub _uniq fix_flags parse"
    ),
    "reconciler.isolation.confine": "_become _give_way_to_others _proof _refuse_calls _see confine enter",
    "reconciler.isolation.fence": "Held.close fence",
    "reconciler.isolation.in_place": "InPlace.confine_here InPlace.open_log InPlace.renew",
    "reconciler.isolation.main": "given_by open_log prove read",
    "reconciler.isolation.refused_calls": "refusals",
    "reconciler.isolation.tries": (
        "_bind _files_through _gets_through _is_writable _list_others _of_daemon _read _refused _same_user _send "
        "_steer _take_port _write got_through tries"
    ),
    "reconciler.isolation.view_maker": (
        "Asked.__init__ Asked.received Made.__init__ Made.enter ViewMaker._has_ended ViewMaker.ask "
        "ViewMaker.close ViewMaker.numbers ViewMaker.renew _passing _received"
    ),
    "reconciler.linux.kernel_calls": "_checked _passed address_of call call_libc opening_fails prctl",
    "reconciler.linux.landlock": (
        "Ruleset.enforce Ruleset.keeps_from_network Ruleset.keeps_processes_apart Ruleset.of version"
    ),
    "reconciler.linux.mount_trees": "join_mounts",
    "reconciler.linux.open_numbers": "close_from",
    "reconciler.linux.privileges": "_header drop_capabilities gain_no_more may_each set_capabilities",
    "reconciler.linux.seccomp": "install",
    "reconciler_gate": (
        "Gate.__init__ Gate.begin Gate.begin_worker Gate.end Gate.expect Gate.guard Gate.hold_back Gate.hooks "
        "Gate.let_in Gate.remove Gate.resize Gate.ring Gate.until_passed Gate.write _is_asgi _module"
    ),
    "reconciler_gate_client": "guard",
    "reconciler_gate_count": "_calls_hooks _modules can_count count_wait guard",
    "reconciler_gate_drain": "Closing.__init__ _gthread guard",
    "reconciler_gate_end": "guard tell_of_crashes",
    "reconciler_gate_import": "_Watch.__init__ _Watch.end _is_coroutine _name _takes guard is_wsgi misfit serves",
    "reconciler_gate_log": "_write_to guard",
    "reconciler_gate_master": "expect resize",
    "selectors": (
        "EpollSelector.close EpollSelector.select _BaseSelectorImpl.__init__ _BaseSelectorImpl._fileobj_lookup "
        "_BaseSelectorImpl.close _BaseSelectorImpl.register _BaseSelectorImpl.unregister "
        "_PollLikeSelector.__init__ _PollLikeSelector.register _PollLikeSelector.unregister "
        "_SelectorMapping.__init__ _fileobj_to_fd"
    ),
    "signal": "_enum_to_int _int_to_enum signal",
    "site": "_get_path _getuserbase _init_pathinfo _trace addsitedir getuserbase getusersitepackages makepath",
    "socket": (
        "_intenum_converter fromfd socket.__enter__ socket.__exit__ socket.__init__ socket.__repr__ "
        "socket._real_close socket.accept socket.close socket.family socket.set_inheritable socket.type"
    ),
    "tempfile": (
        "_RandomNameSequence.__next__ _RandomNameSequence.rng _get_candidate_names _infer_return_type "
        "_mkstemp_inner _sanitize_params mkstemp"
    ),
    "threading": (
        "Condition.__enter__ Condition.__exit__ Condition.__init__ Condition._acquire_restore "
        "Condition._at_fork_reinit Condition._is_owned Condition._release_save Condition.notify "
        "Condition.notify_all Condition.wait Event.__init__ Event._at_fork_reinit Event.is_set Event.set "
        "Event.wait RLock Semaphore.__init__ Semaphore.acquire Semaphore.release Thread.__init__ "
        "Thread._after_fork Thread._bootstrap Thread._bootstrap_inner Thread._set_ident Thread._set_native_id "
        "Thread.daemon Thread.name Thread.run Thread.start _after_fork _enumerate _make_invoke_excepthook "
        "_register_atexit current_thread"
    ),
    "urllib.parse": "_checknetloc _coerce_args _noop _unquote_impl unquote_to_bytes urlsplit",
    "weakref": "WeakKeyDictionary.__init__ WeakKeyDictionary.__setitem__",
    "zipimport": "zipimporter.__init__",
}  # fmt: skip
