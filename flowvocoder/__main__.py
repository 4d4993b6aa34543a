from flowvocoder.cli.main import main

raise SystemExit(main())
